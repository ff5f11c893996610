"""The dashboards' queries against the metrics that are declared.

Queries are read with a small scanner of our own: names, matchers, and the functions around them.
"""

import re
from collections.abc import Iterator

import pytest

from pipeline.metrics import METRICS, Metric
from tests.dashboards.conftest import SHOWN

TARGETS = {
    f"{title}, {target['refId']}": target["expr"]
    for title, panel in SHOWN.items()
    for target in panel["targets"]
}
FOREIGN = {
    "autoscaler_pending_nodes": {"NodeType"},
    "ray_node_mem_used": {"instance", "IsHeadNode"},
    "ray_node_mem_total": {"instance", "IsHeadNode"},
}
"""Ray's own, with their labels."""

BY_FULL_NAME = {metric.full_name: metric for metric in METRICS.values()}
HISTOGRAM_SERIES = ("_bucket", "_sum", "_count")
AGGREGATIONS = {"sum", "avg", "min", "max", "count", "topk", "quantile", "stddev"}
SELECTOR = re.compile(r"\b(?:ray_)?dreambatch_\w+")
EVERY_EXPRESSION = pytest.mark.parametrize("expression", TARGETS.values(), ids=TARGETS.keys())


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


def test_metrics_used_and_declared_are_the_same() -> None:
    used = {
        _metric(series)[0].name for text in TARGETS.values() for series in SELECTOR.findall(text)
    }
    assert used == METRICS.keys()


@EVERY_EXPRESSION
def test_labels_and_their_values_are_declared(expression: str) -> None:
    if not SELECTOR.search(expression):
        foreign = [labels for name, labels in FOREIGN.items() if name in expression]
        assert foreign
        for label in re.findall(r"(?:by \(|\{)(\w+)", expression):
            assert all(label in labels for labels in foreign)
        return
    selectors = re.findall(r"((?:ray_)?dreambatch_\w+)(?:\{([^}]*)\})?", expression)
    for series, matchers in selectors:
        metric, _ = _metric(series)
        if metric.owner == "driver":
            assert 'instance="$instance"' in matchers
        for label, values in re.findall(r'(\w+)(?:=~|!=|=)"([^"]*)"', matchers):
            declared = () if label == "instance" else metric.labels[label]
            assert not declared or set(values.split("|")) <= set(declared)
    known = {"le"}.union(*(_metric(series)[0].labels for series, _ in selectors))
    for labels in re.findall(r"(?:by|without|ignoring) *\(([^)]*)\)", expression):
        assert set(re.findall(r"\w+", labels)) <= known


@EVERY_EXPRESSION
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


def test_the_cost_of_an_asset_is_all_that_was_spent_by_what_was_committed() -> None:
    """Read off the expression: every outcome once, over the committed, in hours, at the price."""
    expression = TARGETS["job: Cost of an asset, A"]
    spent = re.findall(r'gpu_seconds_total\{[^}]*outcome="(\w+)"', expression)
    assert sorted(spent) == sorted(METRICS["gpu_seconds_total"].labels["outcome"])
    assert expression.endswith("/ 3600 * $price")
    assert 'assets_total{instance="$instance", status="committed"} > 0' in expression
