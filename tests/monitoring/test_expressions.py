"""The reading of dashboards and alerts, without Prometheus."""

from typing import Any

import pytest

from pipeline.dashboards.preview import variables
from tests.monitoring import expressions
from tests.monitoring.prometheus import Prometheus, rules


class Answers(Prometheus):
    """Offers the same values for any label, and notes what it was asked."""

    def __init__(self) -> None:
        super().__init__("nowhere")
        self.__dict__["asked"] = []

    def call(self, path: str, **parameters: str | float) -> Any:
        self.__dict__["asked"].append((path, parameters))
        return ["b", "c", "a"]


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("sum(x) > 0", ["sum(x)"]),
        ("a / b >= 0.5 and on (n, p) c == 0", ["a / b", "c"]),
        ("time() - max(x > 0) > 3 * q(rate(y[1d]))", ["time() - max(x > 0)", "3 * q(rate(y[1d]))"]),
        ('a{l=~"x > 1 and y"} < 1e-3 unless b', ['a{l=~"x > 1 and y"}', "b"]),
        ("operand_and or android != 2", ["operand_and", "android"]),
    ],
)
def test_operands(expression: str, wanted: list[str]) -> None:
    assert expressions.operands(expression) == wanted


def test_each_alert_compares_something() -> None:
    for group in rules()["groups"]:
        for rule in group["rules"]:
            assert expressions.operands(rule["expr"]), rule["alert"]


def test_the_previews_ask_the_same() -> None:
    """Two readings of the same files."""
    ours = expressions.queries(Answers(), {})
    for name, dashboard in expressions.dashboards().items():
        values = expressions.variables(dashboard, Answers(), {})
        theirs = set(variables.expressions(dict(dashboard), values))
        assert theirs == {(q.panel, q.expression) for q in ours if q.dashboard == name}
        assert len(theirs) >= 10


def test_variables_are_filled_in_order() -> None:
    prometheus = Answers()
    declared = [
        {"name": "datasource", "type": "datasource", "query": "prometheus"},
        {"name": "run", "type": "query", "query": "label_values(info, run_id)"},
        {
            "name": "at",
            "type": "query",
            "sort": 2,
            "query": {"query": "label_values(i{r='$run'}, l)"},
        },
        {"name": "any", "type": "query", "includeAll": True, "query": "label_values(x)"},
        {"name": "window", "type": "interval", "query": "5m,15m", "current": {"value": "15m"}},
        {"name": "price", "type": "textbox", "query": "2.5"},
    ]
    values = expressions.variables({"templating": {"list": declared}}, prometheus, {"run": "R"})
    text = "$run ${at} ${any:regex} [[window]] $price $__rate_interval"
    assert expressions.fill(text, values) == "R c .* 15m 2.5 20s"
    assert prometheus.__dict__["asked"] == [("label/l/values", {"match[]": "i{r='R'}"})]
    with pytest.raises(KeyError, match="unknown"):
        expressions.fill("$unknown", values)
