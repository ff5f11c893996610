"""What all dashboards share: their variables, the links between them, the grid of their panels."""

from collections.abc import Mapping, Sequence

from pipeline.dashboards.links import TITLES, siblings, uid
from pipeline.dashboards.panels import DATASOURCE, Json

COLUMNS = 24

_SCHEMA = 39
"""Grafana 11's; newer ones read it, too."""

RUN = 'dreambatch_run_info{run_id="$run"}'


def dashboard(
    name: str,
    description: str,
    rows: Mapping[str, Sequence[Json]],
    *,
    folded: Mapping[str, Sequence[Json]] | None = None,
) -> Json:
    """A whole dashboard. `folded` are rows at its foot that a reader opens.

    Panels that have an id keep it.
    """
    return {
        "uid": uid(name),
        "title": f"dreambatch: {TITLES[name]}",
        "description": description,
        "tags": ["dreambatch"],
        "schemaVersion": _SCHEMA,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "links": siblings(),
        "templating": {"list": _variables()},
        "annotations": {"list": []},
        "panels": _numbered(_place(rows, folded or {})),
    }


def _variables() -> list[Json]:
    """The same on every dashboard, so that a link takes all of them along."""
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        _values("run", "dreambatch_run_info", "run_id", label="Run"),
        _values("instance", RUN, "instance", hide=2),
        _choice("window", "Window", ("5m", "15m", "1h", "6h"), "15m"),
        _field("price", "USD a GPU hour", "1", "What an hour of one GPU costs you."),
    ]


def _values(name: str, series: str, key: str, *, label: str = "", hide: int = 0) -> Json:
    """A variable over a label's values, newest first, as run ids begin with their time."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": f"label_values({series}, {key})",
        "query": {"query": f"label_values({series}, {key})", "refId": name},
        "refresh": 2,
        "sort": 2,
        "hide": hide,
    }


def _choice(name: str, label: str, values: Sequence[str], default: str) -> Json:
    return {
        "name": name,
        "label": label,
        "type": "interval",
        "query": ",".join(values),
        "current": {"text": default, "value": default},
        "auto": False,
    }


def _field(name: str, label: str, default: str, description: str) -> Json:
    value = {"text": default, "value": default}
    return {
        "name": name,
        "label": label,
        "description": description,
        "type": "textbox",
        "query": default,
        "current": value,
        "options": [value | {"selected": True}],
    }


def _place(rows: Mapping[str, Sequence[Json]], folded: Mapping[str, Sequence[Json]]) -> list[Json]:
    """Lays the panels out, line under line; what a folded row holds lies under its header."""
    placed: list[Json] = []
    y = 0
    for title, panels in {**rows, **folded}.items():
        header = {"type": "row", "title": title, "collapsed": title in folded, "panels": []}
        header["gridPos"] = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        inside = list(_lines(panels, y + 1))
        placed.append(header)
        if title in folded:
            header["panels"] = inside
            y += 1
        else:
            placed += inside
            y = inside[-1]["gridPos"]["y"] + inside[-1]["gridPos"]["h"]
    return placed


def _lines(panels: Sequence[Json], y: int) -> list[Json]:
    """Panels side by side, as many as fit; those of a line are equally high."""
    lines: list[list[Json]] = [[]]
    for panel in panels:
        if sum(other["gridPos"]["w"] for other in [*lines[-1], panel]) > COLUMNS:
            lines.append([])
        lines[-1].append(panel)
    placed = []
    for line in lines:
        height, x = max(panel["gridPos"]["h"] for panel in line), 0
        for panel in line:
            width = panel["gridPos"]["w"]
            placed.append(panel | {"gridPos": {"x": x, "y": y, "w": width, "h": height}})
            x += width
        y += height
    return placed


def _numbered(panels: Sequence[Json]) -> list[Json]:
    return [{"id": number} | panel for number, panel in enumerate(panels, start=1)]
