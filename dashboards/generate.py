"""Writes `dreambatch.json`, the Grafana dashboard of one run: `python dashboards/generate.py`.

The reader chooses `$run`; `$instance`, hidden, is where that run's driver is scraped. `$window` is
for what happens once an asset, minutes apart; `$__rate_interval` for what happens all the time.
Counters are turned into rates before they are summed; raw ones are shown as they are, or added by
name within their one process.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Json = dict[str, Any]
Queries = Mapping[str, str]
"""PromQL by legend; Grafana puts a label's value for `{{label}}`."""

PATH = Path(__file__).with_name("dreambatch.json")
COLUMNS = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard() -> Json:
    """The whole dashboard."""
    rows = {
        "Progress": _progress() + _flow(),
        "Failures": _failures(),
        "GPUs": _gpus(),
        "Time": _time(),
        "Store and driver": _store(),
    }
    return {
        "uid": "dreambatch",
        "title": "dreambatch: job",
        "description": "One run, from its manifest to its committed assets.",
        "tags": ["dreambatch"],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": _variables()},
        "panels": _place(rows),
    }


def _progress() -> list[Json]:
    done = " + ignoring(status) ".join(
        _of("assets_total", f'status="{status}"')
        for status in ("committed", "duplicate", "skipped")
    )
    left = f"sum without (state) ({_of('queue')})"
    return [
        _stat(
            "Progress",
            "Part of the assets that lie in the store. Rejected rows and quarantined prompts are "
            "left out.",
            "percentunit",
            {"done": f"({done}) / ({done} + {left})"},
        ),
        _stat("To do", "Assets that are not finished.", "short", {"left": left}),
        _stat(
            "Time left",
            "Assets to do, by the rate at which they ended in the window; nothing while none ends.",
            "s",
            {"left": f"{left} / (sum without (status) ({_ended()}) > 0)"},
        ),
        _stat(
            "Since the last commit",
            "Age of the newest committed asset; nothing before the first.",
            "s",
            {"age": f"time() - ({_of('last_commit_timestamp_seconds')} > 0)"},
        ),
        _stat(
            "Run",
            "Recipe, weights and version of the run.",
            "none",
            {"{{recipe}} · {{guidance_digest}} · {{version}}": _of("run_info")},
            width=8,
            show="name",
        ),
    ]


def _flow() -> list[Json]:
    return [
        _series(
            "Assets an hour",
            "Rate at which assets come to an end, by the end they come to.",
            "suffix: /h",
            {"{{status}}": f"3600 * sum by (status) ({_ended()})"},
            stacked=True,
        ),
        _series(
            "Queue",
            "Assets that are not finished. suspect: waits to run alone, after its actor died.",
            "short",
            {"{{state}}": f"sum by (state) ({_of('queue')})"},
            stacked=True,
        ),
    ]


def _failures() -> list[Json]:
    lost = _rate("attempts_total", 'outcome=~"failed|lost|preempted"')
    return [
        _stat(
            "Quarantined",
            "Prompts this run has given up; the reasons lie in _failures/.",
            "short",
            {"quarantined": _of("assets_total", 'status="quarantined"')},
        ),
        _stat(
            "Rejected",
            "Rows of the manifest that are no prompt; the reasons lie in _rejected/.",
            "short",
            {"rejected": _of("assets_total", 'status="rejected"')},
        ),
        _series(
            "Failed attempts",
            "Part of the attempts that ended without an asset. lost: the actor went away. "
            "preempted: it was asked to leave.",
            "percentunit",
            {
                "{{outcome}}": f"sum by (outcome) ({lost}) / on () group_left () "
                f"(sum ({_rate('attempts_total')}) > 0)"
            },
            width=8,
        ),
        _series(
            "Retries",
            "Attempts ordered again in the window, by the error that made them necessary.",
            "short",
            {"{{kind}}": f"sum by (kind) ({_increase('retries_total')})"},
            width=8,
        ),
    ]


def _gpus() -> list[Json]:
    return [*_gpu_glance(), *_actors(), *_device_time()]


def _gpu_glance() -> list[Json]:
    busy = _of("slots", 'state="busy"')
    spent = _rate("gpu_seconds_total")
    wasted = _rate("gpu_seconds_total", 'outcome!="committed"')
    return [
        _stat(
            "Slots busy",
            "Part of all slots that hold a prompt.",
            "percentunit",
            {"busy": f"sum ({busy}) / (sum ({_of('slots')}) > 0)"},
        ),
        _stat(
            "GPU time wasted",
            "Part of the device time in the window that gave no asset of this run.",
            "percentunit",
            {"wasted": f"sum ({wasted}) / (sum ({spent}) > 0)"},
        ),
        _stat(
            "Longest stillness",
            "The longest time for which an actor with work has not moved; --hang-minutes is its "
            "end.",
            "s",
            {"still": _of("stuck_seconds")},
        ),
    ]


def _actors() -> list[Json]:
    return [
        _series(
            "Slots",
            "Slots of all gangs. down: their actor is starting or recovering.",
            "short",
            {"{{state}}": f"sum by (state) ({_of('slots')})"},
            stacked=True,
        ),
        _series(
            "Actors",
            "coming: starting or recovering. leaving: out of reach or asked to stop, with prompts "
            "of which nothing is known yet.",
            "short",
            {"{{state}}": f"sum by (state) ({_of('actors')})"},
            width=8,
            stacked=True,
        ),
        _series(
            "Actors lost",
            "Actors that went away in the window: their process died, their machine did, or they "
            "hung.",
            "short",
            {"{{cause}}": f"sum by (cause) ({_increase('actors_lost_total')})"},
            width=8,
        ),
    ]


def _device_time() -> list[Json]:
    spent = _rate("gpu_seconds_total")
    return [
        _series(
            "GPU seconds a second",
            "Device time by what became of it; only committed was useful. Booked when an attempt "
            "ends.",
            "short",
            {"{{outcome}}": f"sum by (outcome) ({spent})"},
            width=8,
            stacked=True,
        ),
        _series(
            "GPU seconds wasted a second",
            "Device time that gave no asset, by cause: duplicate, or the kind of the failure.",
            "short",
            {"{{cause}}": f"sum by (cause) ({_rate('wasted_gpu_seconds_total')}) > 0"},
            stacked=True,
        ),
    ]


def _time() -> list[Json]:
    actor = "rate(ray_dreambatch_actor_stage_seconds_bucket[$__rate_interval])"
    seconds, number = _rate("stage_seconds_sum"), _rate("stage_seconds_count")
    return [
        _series(
            "Seconds an asset",
            "Wall time from the first order to the commit: quantiles of the assets in the window.",
            "s",
            _quantiles(_rate("asset_seconds_bucket")),
            width=8,
        ),
        _series(
            "Seconds a stage",
            "Mean wall time of each stage, of the assets committed in the window.",
            "s",
            {"{{stage}}": f"sum by (stage) ({seconds}) / (sum by (stage) ({number}) > 0)"},
            width=8,
            stacked=True,
        ),
        _series(
            "Seconds in the actors",
            "95th percentile of one admission, one step of a whole gang, one export, one commit, "
            "over all actors that are scraped, whatever their run.",
            "s",
            {"{{stage}}": f"histogram_quantile(0.95, sum by (le, stage) ({actor}))"},
            width=8,
        ),
    ]


def _store() -> list[Json]:
    loop = _rate("driver_loop_seconds_bucket", window="$__rate_interval")
    operations = _rate("store_operations_total")
    seconds = _rate("store_operation_seconds_bucket")
    return [
        _series(
            "Written",
            "Bytes of committed assets a second.",
            "Bps",
            {"assets": f"sum ({_rate('output_bytes_total')})"},
            width=8,
        ),
        _series(
            "Commit conflicts",
            "Finished assets in the window that another run had committed first: two runs share an "
            "output.",
            "short",
            {"conflicts": f"sum ({_increase('commit_conflicts_total')})"},
            width=8,
        ),
        _series(
            "Driver loop",
            "CPU time of one turn of the driver's loop: above a second it holds the actors up.",
            "s",
            _quantiles(loop),
            width=8,
        ),
        _series(
            "Store operations",
            "The driver's operations on the output a second, by what came of them.",
            "short",
            {"{{operation}} {{result}}": f"sum by (operation, result) ({operations})"},
        ),
        _series(
            "Seconds an operation",
            "95th percentile of the driver's operations on the output.",
            "s",
            {"{{operation}}": f"histogram_quantile(0.95, sum by (le, operation) ({seconds}))"},
        ),
    ]


def _ended() -> str:
    return _rate("assets_total", 'status=~"committed|duplicate|quarantined"')


def _of(name: str, matcher: str = "") -> str:
    """A driver's metric in the chosen run."""
    matchers = ", ".join(filter(None, ('instance="$instance"', matcher)))
    return f"dreambatch_{name}{{{matchers}}}"


def _rate(name: str, matcher: str = "", *, window: str = "$window") -> str:
    return f"rate({_of(name, matcher)}[{window}])"


def _increase(name: str) -> str:
    return f"increase({_of(name)}[$window])"


def _quantiles(rate: str) -> Queries:
    return {
        f"p{percent}": f"histogram_quantile({percent / 100}, sum by (le) ({rate}))"
        for percent in (50, 95)
    }


def _stat(
    title: str,
    description: str,
    unit: str,
    queries: Queries,
    *,
    width: int = 4,
    show: str = "value",
) -> Json:
    options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": show, "colorMode": "none"}
    return _panel("stat", title, description, unit, queries, width, {}, options)


def _series(
    title: str,
    description: str,
    unit: str,
    queries: Queries,
    *,
    width: int = 12,
    stacked: bool = False,
) -> Json:
    custom: Json = {"fillOpacity": 30, "stacking": {"mode": "normal"}} if stacked else {}
    options = {"legend": {"displayMode": "list", "placement": "bottom"}}
    return _panel("timeseries", title, description, unit, queries, width, custom, options)


def _panel(
    kind: str,
    title: str,
    description: str,
    unit: str,
    queries: Queries,
    width: int,
    custom: Json,
    options: Json,
) -> Json:
    targets = [
        {
            "refId": chr(ord("A") + number),
            "datasource": DATASOURCE,
            "expr": expr,
            "legendFormat": legend,
        }
        for number, (legend, expr) in enumerate(queries.items())
    ]
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": custom}, "overrides": []},
        "options": options,
        "targets": targets,
        "gridPos": {"w": width, "h": 4 if kind == "stat" else 8},
    }


def _variables() -> list[Json]:
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        _values("run", "dreambatch_run_info", "run_id", label="Run"),
        _values("instance", 'dreambatch_run_info{run_id="$run"}', "instance", hide=2),
        {
            "name": "window",
            "label": "Window",
            "type": "interval",
            "query": "5m,15m,1h,6h",
            "current": {"text": "15m", "value": "15m"},
            "auto": False,
        },
    ]


def _values(name: str, series: str, key: str, *, label: str = "", hide: int = 0) -> Json:
    """A variable over a label's values, newest first, as run ids begin with their time."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": f"label_values({series}, {key})", "refId": name},
        "refresh": 2,
        "sort": 2,
        "hide": hide,
    }


def _place(rows: Mapping[str, list[Json]]) -> list[Json]:
    """Numbers the panels and lays them out, line under line; those of a line are equally high."""
    placed: list[Json] = []
    y = 0
    for title, panels in rows.items():
        header = {"type": "row", "title": title, "collapsed": False, "panels": []}
        placed.append(header | {"gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1}})
        y += 1
        for line in _lines(panels):
            height, x = max(panel["gridPos"]["h"] for panel in line), 0
            for panel in line:
                width = panel["gridPos"]["w"]
                placed.append(panel | {"gridPos": {"x": x, "y": y, "w": width, "h": height}})
                x += width
            y += height
    return [panel | {"id": number} for number, panel in enumerate(placed, start=1)]


def _lines(panels: list[Json]) -> list[list[Json]]:
    """Panels side by side, as many as fit."""
    lines: list[list[Json]] = [[]]
    for panel in panels:
        if sum(other["gridPos"]["w"] for other in [*lines[-1], panel]) > COLUMNS:
            lines.append([])
        lines[-1].append(panel)
    return lines


def text() -> str:
    """The file's content."""
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
    print(PATH)
