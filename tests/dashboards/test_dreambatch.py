"""The dashboard against the metrics that are declared.

Queries are read with a small scanner of our own: names, matchers, and the functions around them.
"""

import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.metrics import METRICS, Metric

DASHBOARDS = Path(__file__).resolve().parents[2] / "dashboards"
DASHBOARD: dict[str, Any] = json.loads((DASHBOARDS / "dreambatch.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]

BY_FULL_NAME = {metric.full_name: metric for metric in METRICS.values()}
HISTOGRAM_SERIES = ("_bucket", "_sum", "_count")
AGGREGATIONS = {"sum", "avg", "min", "max", "count", "topk", "quantile", "stddev"}
SELECTOR = re.compile(r"\b(?:ray_)?dreambatch_\w+")


def _metric(series: str) -> tuple[Metric, str]:
    """The metric that a series belongs to, and the suffix that a histogram added."""
    for suffix in HISTOGRAM_SERIES:
        metric = BY_FULL_NAME.get(series.removesuffix(suffix))
        if series.endswith(suffix) and metric is not None and metric.kind == "histogram":
            return metric, suffix
    metric = BY_FULL_NAME[series]
    assert metric.kind != "histogram", f"{series} is a histogram: it has no series of that name"
    return metric, ""


def _uses(expression: str) -> Iterator[tuple[str, list[str]]]:
    """Each series in a query, with the functions around it from the outermost in; () is ''."""
    plain = re.sub(
        r"\b(?:by|without|on|ignoring|group_left|group_right) *\([^)]*\)", "", expression
    )
    around: list[str] = []
    for token in re.finditer(r"(\w*) *\(|\)|\b(?:ray_)?dreambatch_\w+|\{[^}]*\}", plain):
        if token[0] == ")":
            around.pop()
        elif token[0].endswith("("):
            around.append(token[1])
        elif not token[0].startswith("{"):
            yield token[0], list(around)
    assert not around


def _obeys(expression: str) -> bool:
    """Whether counters are rated directly, before anything is aggregated."""
    for series, around in _uses(expression):
        metric, suffix = _metric(series)
        is_rated = bool(around) and around[-1] in {"rate", "increase"}
        if metric.kind == "gauge" and is_rated:
            return False
        if metric.kind != "gauge" and not is_rated and (suffix or AGGREGATIONS & set(around)):
            return False
    return True


def test_the_file_is_what_the_generator_writes() -> None:
    generator = runpy.run_path(str(DASHBOARDS / "generate.py"))
    assert (DASHBOARDS / "dreambatch.json").read_text(encoding="utf-8") == generator["text"]()


def test_metrics_used_and_declared_are_the_same() -> None:
    used = {_metric(series)[0].name for text in EXPRESSIONS for series in SELECTOR.findall(text)}
    assert used == METRICS.keys()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_labels_and_their_values_are_declared(expression: str) -> None:
    selectors = re.findall(r"((?:ray_)?dreambatch_\w+)(?:\{([^}]*)\})?", expression)
    assert selectors
    for series, matchers in selectors:
        metric, _ = _metric(series)
        if metric.owner == "driver":
            assert 'instance="$instance"' in matchers
        for label, values in re.findall(r'(\w+)(?:=~|!=|=)"([^"]*)"', matchers):
            assert label == "instance" or set(values.split("|")) <= set(metric.labels[label])
    known = {"le"}.union(*(_metric(series)[0].labels for series, _ in selectors))
    for labels in re.findall(r"(?:by|without|ignoring) *\(([^)]*)\)", expression):
        assert set(re.findall(r"\w+", labels)) <= known


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_counters_are_rated_before_they_are_summed(expression: str) -> None:
    assert _obeys(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "sum(dreambatch_assets_total)",
        "sum by (status) (dreambatch_assets_total)",
        "rate(sum(dreambatch_assets_total)[5m])",
        "sum(rate(dreambatch_queue[5m]))",
        "histogram_quantile(0.5, sum by (le) (dreambatch_asset_seconds_bucket))",
    ],
)
def test_the_scanner_notices_raw_sums(expression: str) -> None:
    assert not _obeys(expression)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_panels_say_what_they_show(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    for part in (panel, *panel["targets"]):
        assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    legends = [target["legendFormat"] for target in panel["targets"]]
    assert all(legends)
    assert len(set(legends)) == len({target["refId"] for target in panel["targets"]})


def test_variables_are_declared_before_they_are_used() -> None:
    variables = [variable["name"] for variable in DASHBOARD["templating"]["list"]]
    assert variables == ["datasource", "run", "instance", "window"]
    used = {name for text in EXPRESSIONS for name in re.findall(r"\$(\w+)", text)}
    assert used == {"instance", "window", "__rate_interval"}


def test_panels_do_not_overlap() -> None:
    cells = [
        (x, y)
        for position in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(position["x"], position["x"] + position["w"])
        for y in range(position["y"], position["y"] + position["h"])
    ]
    assert len(cells) == len(set(cells))
    assert {x for x, _ in cells} == set(range(24))
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
