"""One panel each: a large figure, lines, a heatmap; drawn into axes that matplotlib made."""

import datetime
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from pipeline.dashboards.panels import Json
from pipeline.dashboards.preview import units
from pipeline.dashboards.preview.prometheus import Series, Span

_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
"""Seconds between two moments on the axis of time."""
PALETTE = (
    *("#73bf69", "#f2cc0c", "#5794f2", "#ff780a", "#f2495c", "#b877d9", "#705da0", "#37872d"),
    *("#fade2a", "#1f60c4", "#fa6400", "#c4162a", "#8f3bb8", "#96d98d", "#8ab8ff", "#ffa6b0"),
)
INK, PALE = "#24292e", "#8b949e"
NAMED = {
    **{"green": "#73bf69", "red": "#f2495c", "orange": "#ff780a", "yellow": "#f2cc0c"},
    **{"purple": "#b877d9", "blue": "#5794f2"},
}
"""Colours that Grafana knows by name."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A series under its legend."""

    name: str
    series: Series


def lines(target: Json, found: Sequence[Series]) -> list[Line]:
    """The series of one target, each under its legend, in the legends' order."""
    named = [Line(name=_legend(target["legendFormat"], s.labels), series=s) for s in found]
    return sorted(named, key=lambda line: line.name)


def draw_stat(axes: Axes, panel: Json, shown: Sequence[Line], span: Span) -> None:
    """The newest value of each line in large, or its name."""
    axes.axis("off")
    unit = panel["fieldConfig"]["defaults"]["unit"]
    is_name = panel["options"]["textMode"] == "name"
    parts = []
    for line in shown:
        values = [value for value in line.series.values if math.isfinite(value)]
        if values:
            said = line.name if is_name else units.text(values[-1], unit)
            parts.append(said if is_name or len(shown) == 1 else f"{line.name} {said}")
    if not parts:
        return draw_nothing(axes)
    text = "\n".join(parts)
    widest = max(map(len, parts))
    room = axes.get_window_extent().width / (0.75 * max(widest, 1))
    size = max(7, min(24, room, 36 / len(parts)))
    axes.text(0.5, 0.5, text, ha="center", va="center", size=size, color=INK, linespacing=1.2)
    return None


def draw_series(axes: Axes, panel: Json, shown: Sequence[Line], span: Span) -> None:
    """Lines over time, stacked if the panel says so."""
    shown = [line for line in shown if any(map(math.isfinite, line.series.values))]
    if not shown:
        return draw_nothing(axes)
    custom = panel["fieldConfig"]["defaults"].get("custom", {})
    colours = _colours(panel, shown)
    if "stacking" in custom:
        _stack(axes, shown, colours)
    else:
        for line, colour in zip(shown, colours, strict=True):
            times, values = _gapped(line.series)
            axes.plot(times, values, color=colour, linewidth=1.4, marker=_marker(values))
    scale = custom.get("scaleDistribution")
    if scale is not None:
        axes.set_yscale("symlog", linthresh=scale["linearThreshold"], base=scale["log"])
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))
    if "min" in panel["fieldConfig"]["defaults"]:
        axes.set_ylim(bottom=0, top=None if axes.get_ylim()[1] > 0.0 and _has_height(shown) else 1)
    _dress(axes, panel, span)
    _legends(axes, [line.name for line in shown], colours)
    return None


def draw_heatmap(axes: Axes, panel: Json, shown: Sequence[Line], span: Span) -> None:
    """A cell for each bucket and moment, darker where more fell; a row a bucket, as wide as any."""
    times, bounds, counts = buckets([line.series for line in shown])
    filled = np.flatnonzero(counts.sum(axis=1))
    if not filled.size:
        return draw_nothing(axes)
    low, high = filled[0], filled[-1] + 1
    counts, bounds = counts[low:high], bounds[low:high]
    step = times[1] - times[0] if len(times) > 1 else span.end - span.start
    edges = [times[0] - step, *times]
    shades = np.ma.masked_equal(counts, 0) ** panel["options"]["color"]["exponent"]
    axes.pcolormesh(edges, np.arange(len(bounds) + 1), shades, cmap="Blues", vmin=0)
    unit = panel["fieldConfig"]["defaults"]["unit"]
    every = math.ceil(len(bounds) / 8)
    ticks = range(0, len(bounds), every)
    axes.set_yticks([tick + 1 for tick in ticks], [_bound(bounds[tick], unit) for tick in ticks])
    _dress(axes, panel, span, is_value=False)
    axes.grid(visible=False)
    return None


def draw_nothing(axes: Axes) -> None:
    """What Grafana says, too."""
    axes.axis("off")
    axes.text(0.5, 0.5, "No data", ha="center", va="center", size=11, color=PALE)


DRAWINGS: Mapping[str, Callable[[Axes, Json, Sequence[Line], Span], None]] = {
    "stat": draw_stat,
    "timeseries": draw_series,
    "heatmap": draw_heatmap,
}
"""By the panel's type."""


def buckets(found: Sequence[Series]) -> tuple[list[float], list[float], np.ndarray]:
    """Times, upper bounds, and how many fell in between: counts of shape (bounds, times).

    Prometheus counts what fell below each bound, so neighbours are subtracted.
    """
    ordered = sorted(found, key=lambda series: float(series.labels["le"]))
    times = sorted({time for series in ordered for time in series.times})
    below = np.zeros((len(ordered), len(times)))
    for row, series in enumerate(ordered):
        at = dict(zip(series.times, series.values, strict=True))
        below[row] = [at.get(time, 0.0) for time in times]
    counts = np.diff(np.nan_to_num(below), axis=0, prepend=0.0)
    # Extrapolated growths of neighbours differ by rounding.
    counts[counts < 1e-6] = 0.0
    return times, [float(series.labels["le"]) for series in ordered], counts


def moments(span: Span) -> list[float]:
    """At most seven round moments of a span, evenly spaced."""
    length = span.end - span.start
    step = next(
        (step for step in _STEPS if length / step <= 6), 86400 * math.ceil(length / 6 / 86400)
    )
    first = math.ceil(span.start / step)
    return [float(k * step) for k in range(first, math.floor(span.end / step) + 1)]


def _legend(form: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), form)


def _stack(axes: Axes, shown: Sequence[Line], colours: Sequence[str]) -> None:
    """Areas on top of one another; a line that is not there at a moment adds nothing to it."""
    times = sorted({time for line in shown for time in line.series.times})
    floor = np.zeros(len(times))
    for line, colour in zip(shown, colours, strict=True):
        at = dict(zip(line.series.times, line.series.values, strict=True))
        top = floor + np.nan_to_num([at.get(time, 0.0) for time in times])
        axes.fill_between(times, floor, top, color=colour, alpha=0.35, linewidth=0)
        edge = np.where(top > floor, top, math.nan)
        axes.plot(times, edge, color=colour, linewidth=1.2, marker=_marker(edge))
        floor = top


def _colours(panel: Json, shown: Sequence[Line]) -> list[str]:
    """The panel's own colours, and the palette's others in turn."""
    fixed = {
        override["matcher"]["options"]: NAMED[override["properties"][0]["value"]["fixedColor"]]
        for override in panel["fieldConfig"]["overrides"]
    }
    own = {fixed[line.name] for line in shown if line.name in fixed}
    others = itertools.cycle([colour for colour in PALETTE if colour not in own])
    return [fixed.get(line.name) or next(others) for line in shown]


def _gapped(series: Series) -> tuple[list[float], list[float]]:
    """Times and values, with a gap where there was nothing for longer than between two points."""
    steps = np.diff(series.times)
    longest = 1.5 * steps.min() if steps.size else math.inf
    times, values = [], []
    last = None
    for time, value in zip(series.times, series.values, strict=True):
        if last is not None and time - last > longest:
            times.append(last)
            values.append(math.nan)
        times.append(time)
        values.append(value)
        last = time
    return times, values


def _marker(values: Sequence[float] | np.ndarray) -> str:
    """A point alone makes no line."""
    return "o" if np.isfinite(values).sum() == 1 else ""


def _has_height(shown: Sequence[Line]) -> bool:
    return any(value > 0 for line in shown for value in line.series.values)


def _dress(axes: Axes, panel: Json, span: Span, *, is_value: bool = True) -> None:
    """Scales, ticks and the grid."""
    unit = panel["fieldConfig"]["defaults"]["unit"]
    axes.set_xlim(span.start, span.end)
    ticks = moments(span)
    clock = "%H:%M:%S" if any(tick % 60 for tick in ticks) else "%H:%M"
    if span.end - span.start > 2 * 86400:
        clock = "%m-%d %H:%M"
    axes.set_xticks(ticks, [_utc(tick).strftime(clock) for tick in ticks])
    if is_value:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: units.text(value, unit)))
    axes.tick_params(labelsize=8, length=0, labelcolor=INK)
    axes.grid(color="#e4e7eb", linewidth=0.7)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _legends(axes: Axes, names: Sequence[str], colours: Sequence[str]) -> None:
    """Names under the lines, a swatch before each, in two lines of text at most."""
    room = axes.get_window_extent().width
    columns = max(1, int(room / (6.5 * max(map(len, names)) + 32)))
    most = len(names) if len(names) <= 2 * columns else 2 * columns - 1
    handles = [
        Line2D([], [], color=colour, linewidth=3, label=name)
        for name, colour in zip(names[:most], colours, strict=False)
    ]
    if most < len(names):
        handles.append(Line2D([], [], linewidth=0, label=f"and {len(names) - most} more"))
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(-0.02, -0.12),
        ncols=min(len(handles), columns),
        fontsize=7.5,
        frameon=False,
        handlelength=1.0,
        columnspacing=1.0,
        labelcolor=INK,
    )


def _bound(bound: float, unit: str) -> str:
    return "∞" if math.isinf(bound) else units.text(bound, unit)


def _utc(moment: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(moment, datetime.UTC)
