"""A chart of shares over a logarithmic axis, as SVG, drawn by hand: no library, the same bytes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 34, 48
_COLOURS = ("#1f6fb4", "#d1662a", "#3a8f4d", "#8a4fa3")
_GRID, _INK = "#dddddd", "#333333"
_TICKS = (1, 2, 5)
_MARGIN = 1.12
"""How far the axis reaches beyond its first and last point, as a factor."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measurement."""

    x: float
    """Above 0."""
    y: float
    """In [0, 1]."""
    name: str
    """Shown by a browser when it is pointed at."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points of one colour: some joined by a line, others alone."""

    name: str
    line: Sequence[Point]
    marks: Sequence[Point]


def chart(series: Sequence[Series], *, x_name: str, y_name: str, marks_name: str = "others") -> str:
    """The chart of up to four series; an empty one, with its axes, where there are no points."""
    points = [point for one in series for point in (*one.line, *one.marks)]
    low = min((point.x for point in points), default=1.0) / _MARGIN
    high = max((point.x for point in points), default=10.0) * _MARGIN
    bottom = math.floor(10.0 * min((point.y for point in points), default=0.0)) / 10.0
    bottom = min(bottom, 0.9)
    axes = _Axes(low=low, high=high, bottom=bottom)
    drawn = [
        part
        for one, colour in zip(series, _COLOURS, strict=False)
        for part in _series(one, colour, axes)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            *_frame(axes, x_name, y_name),
            *drawn,
            *_legend(series, marks_name),
            "</svg>\n",
        ]
    )


@dataclass(frozen=True, kw_only=True)
class _Axes:
    low: float
    high: float
    bottom: float

    def x(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.bottom) / (1.0 - self.bottom)
        return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)


def _frame(axes: _Axes, x_name: str, y_name: str) -> list[str]:
    """Grid, numbers and names of both axes."""
    found: list[str] = []
    for tenth in range(round(10 * axes.bottom), 11):
        y = axes.y(tenth / 10)
        found.append(_line(_LEFT, y, WIDTH - _RIGHT, y))
        found.append(_text(_LEFT - 8, y + 4, f"{tenth / 10:.1f}", "end"))
    decades = range(math.floor(math.log10(axes.low)), math.ceil(math.log10(axes.high)) + 1)
    for value in (tick * 10.0**decade for decade in decades for tick in _TICKS):
        if axes.low <= value <= axes.high:
            x = axes.x(value)
            found.append(_line(x, _TOP, x, HEIGHT - _BOTTOM))
            found.append(_text(x, HEIGHT - _BOTTOM + 18, f"{value:,g}", "middle"))
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    found.append(_text(middle, HEIGHT - 10, x_name, "middle"))
    y = (_TOP + HEIGHT - _BOTTOM) / 2
    turned = f'transform="rotate(-90 14 {y:.0f})"'
    found.append(_text(14, y, y_name, "middle", turned))
    return found


def _series(one: Series, colour: str, axes: _Axes) -> list[str]:
    line = sorted(one.line, key=lambda point: point.x)
    path = " ".join(f"{axes.x(point.x):.1f},{axes.y(point.y):.1f}" for point in line)
    found = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for point, fill in [(p, colour) for p in line] + [(p, "white") for p in one.marks]:
        found.append(
            f'<circle cx="{axes.x(point.x):.1f}" cy="{axes.y(point.y):.1f}" r="4" fill="{fill}" '
            f'stroke="{colour}" stroke-width="2"><title>{escape(point.name)}</title></circle>'
        )
    return found


def _legend(series: Sequence[Series], marks_name: str) -> list[str]:
    found: list[str] = []
    for k, (one, colour) in enumerate(zip(series, _COLOURS, strict=False)):
        x = _LEFT + 160 * k
        found.append(f'<circle cx="{x + 6}" cy="18" r="4" fill="{colour}"/>')
        found.append(_text(x + 16, 22, one.name, "start"))
    if any(one.marks for one in series):
        x = _LEFT + 160 * len(series)
        found.append(f'<circle cx="{x + 6}" cy="18" r="4" fill="white" stroke="{_INK}"/>')
        found.append(_text(x + 16, 22, marks_name, "start"))
    return found


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{_GRID}"/>'


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="{_INK}" {more}>{escape(text)}</text>'
