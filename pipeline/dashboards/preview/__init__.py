"""Pictures of the dashboards without Grafana: the same panels, drawn from what Prometheus answers.

    query = prometheus.query("http://localhost:9090")
    values = variables.resolve(dashboard, query, span, {"run": run_id})
    for title, expression in variables.expressions(dashboard, values): ...
    png = picture.draw(dashboard, query, span, values)

Grafana draws better; this is for a README, and for tests that every panel shows something.
"""
