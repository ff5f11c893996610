"""Grafana dashboards of a run, one a file, and a preview of them without Grafana.

`dashboards/` holds what `render` writes. A reader chooses `$run`; `$instance`, hidden, is where
that run's driver is scraped. `$window` is for what happens once an asset, minutes apart,
`$__rate_interval` for what happens all the time.
"""
