"""Panels as Grafana's JSON has them, without their places; `frame` gives those.

A panel's unit is one of Grafana's, or `suffix: ...`. `width` is in columns, of which a line has 24.
"""

from collections.abc import Sequence
from typing import Any, Literal

from pipeline.dashboards.promql import Queries
from pipeline.metrics import METRICS

Json = dict[str, Any]

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

COLOURS = {
    **dict.fromkeys(("committed", "ok", "ready", "busy", "useful"), "green"),
    **dict.fromkeys(("failed", "empty", "quarantined"), "red"),
    **dict.fromkeys(("lost", "down", "leaving"), "orange"),
    **dict.fromkeys(("preempted", "coming", "free", "suspect"), "yellow"),
    **dict.fromkeys(("duplicate", "waiting"), "purple"),
    **dict.fromkeys(("running", "unet"), "blue"),
}
"""Of what means the same on all panels, by its name in the legend; Grafana chooses the others."""

_LOGARITHMIC = {"type": "symlog", "log": 10, "linearThreshold": 0.001}
"""A logarithm on both sides of zero."""


def stat(
    title: str,
    description: str,
    unit: str,
    queries: Queries,
    links: Sequence[Json],
    *,
    width: int = 4,
    show: str = "value",
) -> Json:
    """The newest value in large; with `show="name"` the legend instead."""
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"]},
        "textMode": show,
        "colorMode": "none",
        "graphMode": "none",
    }
    panel = _panel("stat", title, description, unit, queries, links, width)
    return panel | {"options": options, "fieldConfig": _fields(unit)}


def series(
    title: str,
    description: str,
    unit: str,
    queries: Queries,
    links: Sequence[Json],
    *,
    width: int = 12,
    stacked: bool = False,
    scale: Literal["from zero", "free", "symmetric logarithm"] = "from zero",
) -> Json:
    """Lines over time; `stacked` for parts of a whole."""
    custom: Json = {"fillOpacity": 30, "stacking": {"mode": "normal"}} if stacked else {}
    if scale == "symmetric logarithm":
        custom["scaleDistribution"] = _LOGARITHMIC
    options = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}}
    options["tooltip"] = {"mode": "multi", "sort": "desc"}
    panel = _panel("timeseries", title, description, unit, queries, links, width)
    lowest = {"min": 0} if scale == "from zero" else {}
    fields = _fields(unit, custom=custom, **lowest)
    fields["overrides"] = [_coloured(name) for name in _names(queries) if name in COLOURS]
    return panel | {"options": options, "fieldConfig": fields}


def heatmap(
    title: str,
    description: str,
    unit: str,
    buckets: str,
    links: Sequence[Json],
    *,
    width: int = 12,
) -> Json:
    """A histogram over time, darker where more fell. `buckets`: their growth, summed by `le`."""
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Blues", "exponent": 0.5, "steps": 64},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "tooltip": {"mode": "single", "yHistogram": True},
        "yAxis": {"axisPlacement": "left", "unit": unit},
        "cellValues": {"unit": "short"},
    }
    panel = _panel("heatmap", title, description, unit, {"{{le}}": buckets}, links, width)
    panel["targets"][0]["format"] = "heatmap"
    # A bar of two minutes, so that an asset is seen in one place and not in eight.
    panel |= {"interval": "2m", "maxDataPoints": 100}
    return panel | {"options": options, "fieldConfig": _fields(unit)}


def text(title: str, markdown: str) -> Json:
    """Words."""
    return {
        "type": "text",
        "title": title,
        "options": {"mode": "markdown", "content": markdown},
        "gridPos": {"w": 12, "h": 6},
    }


def _panel(
    kind: str,
    title: str,
    description: str,
    unit: str,
    queries: Queries,
    links: Sequence[Json],
    width: int,
) -> Json:
    assert unit, f"{title}: what is it counted in?"
    targets = [
        {
            "refId": chr(ord("A") + number),
            "datasource": DATASOURCE,
            "expr": expression,
            "legendFormat": legend,
        }
        for number, (legend, expression) in enumerate(queries.items())
    ]
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "targets": targets,
        "links": list(links),
        "gridPos": {"w": width, "h": 4 if kind == "stat" else 8},
    }


def _names(queries: Queries) -> list[str]:
    """What the legends will say, as far as it is declared."""
    names = set()
    for legend, expression in queries.items():
        metrics = [METRICS[name] for name in METRICS if f"dreambatch_{name}" in expression]
        label = legend.strip("{}")
        names |= {value for metric in metrics for value in metric.labels.get(label, (legend,))}
    return sorted(names)


def _coloured(name: str) -> Json:
    colour = {"mode": "fixed", "fixedColor": COLOURS[name]}
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": "color", "value": colour}],
    }


def _fields(unit: str, **defaults: Any) -> Json:
    return {"defaults": {"unit": unit, **defaults}, "overrides": []}
