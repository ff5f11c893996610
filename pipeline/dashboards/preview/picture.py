"""A whole dashboard as a picture: Grafana's grid, the panels in their places."""

import datetime
import io
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from PIL import Image

from pipeline.dashboards.frame import COLUMNS
from pipeline.dashboards.panels import Json
from pipeline.dashboards.preview.panel_drawings import DRAWINGS, INK, PALE, lines
from pipeline.dashboards.preview.prometheus import Query, Span
from pipeline.dashboards.preview.variables import NUM_POINTS, substitute

LABEL = "preview, drawn by dreambatch, not Grafana"

_COLUMN, _ROW, _HEADER, _MARGIN = 66, 38, 64, 4
"""Pixels: of the grid, of the line on top, around a panel."""
_DPI = 100
_AROUND = {"stat": (14, 30, 14, 10), "timeseries": (78, 34, 22, 66), "heatmap": (78, 34, 22, 34)}
"""Pixels for what stands left of, above, right of and below a panel's axes."""
_NUM_BARS = 40
"""Moments of a heatmap."""


def draw(dashboard: Json, query: Query, span: Span, values: Mapping[str, str]) -> bytes:
    """A PNG of the dashboard over the span, with these values of its variables.

    UserError where Prometheus refuses a query.
    """
    height = _HEADER + _ROW * max(
        p["gridPos"]["y"] + p["gridPos"]["h"] for p in dashboard["panels"]
    )
    width = _COLUMN * COLUMNS
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="#f4f5f5")
    canvas = FigureCanvasAgg(figure)
    _head(figure, dashboard, span, values)
    for panel in dashboard["panels"]:
        box = _Box(figure, panel["gridPos"])
        if panel["type"] == "row":
            fold = f" ({len(panel['panels'])} panels)" if panel["collapsed"] else ""
            mark = "▸" if panel["collapsed"] else "▾"
            box.write(f"{mark} {panel['title']}{fold}", size=11, weight="bold", y=22)
        else:
            _draw_panel(box, panel, query, span, values)
    canvas.draw()
    return _png(canvas)


def _head(figure: Figure, dashboard: Json, span: Span, values: Mapping[str, str]) -> None:
    box = _Box(figure, {"x": 0, "y": 0, "w": COLUMNS, "h": 0}, top=0)
    box.write(dashboard["title"], size=16, weight="bold", y=26)
    start, end = (
        datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
        for moment in (span.start, span.end)
    )
    said = f"run {values['run']}   {start} to {end} UTC   window {values['window']}"
    box.write(f"{said}   {values['price']} USD a GPU hour", size=9, color=PALE, y=50)
    box.write(LABEL, size=13, weight="bold", color="#c4162a", y=28, at_right=True)


def _draw_panel(
    box: "_Box", panel: Json, query: Query, span: Span, values: Mapping[str, str]
) -> None:
    """One panel from the answers to its expressions."""
    box.frame()
    box.write(panel["title"], size=10, weight="bold", y=21)
    num_points = _NUM_BARS if panel["type"] == "heatmap" else NUM_POINTS
    here = {**values, "__rate_interval": span.rate_interval(num_points)}
    shown = [
        line
        for target in panel["targets"]
        for line in lines(
            target, query(substitute(target["expr"], here), span, span.step(num_points))
        )
    ]
    DRAWINGS[panel["type"]](box.axes(panel["type"]), panel, shown, span)


class _Box:
    """A place on the grid of a figure; pixels from its upper left corner."""

    def __init__(self, figure: Figure, position: Mapping[str, int], *, top: int = _HEADER) -> None:
        self._figure = figure
        self._left = position["x"] * _COLUMN
        self._top = top + position["y"] * _ROW
        self._width = position["w"] * _COLUMN
        self._height = position["h"] * _ROW
        self._all = figure.get_size_inches() * _DPI

    def frame(self) -> None:
        """The panel's white ground."""
        m = _MARGIN
        left, bottom = self._at(m, self._height - m)
        right, upper = self._at(self._width - m, m)
        ground = FancyBboxPatch(
            (left, bottom),
            right - left,
            upper - bottom,
            boxstyle="square,pad=0",
            facecolor="white",
            edgecolor="#d9dde1",
            linewidth=0.8,
            transform=self._figure.transFigure,
            zorder=-1,
        )
        self._figure.add_artist(ground)

    def write(
        self,
        text: str,
        *,
        size: float,
        y: float,
        weight: str = "normal",
        color: str = INK,
        at_right: bool = False,
    ) -> None:
        """A line of text on the height `y`."""
        x = self._width - 14 if at_right else 14
        left, height = self._at(x, y)
        self._figure.text(
            left,
            height,
            text,
            size=size,
            weight=weight,
            color=color,
            ha="right" if at_right else "left",
        )

    def axes(self, kind: str) -> Axes:
        """Axes below the title, with room for what stands around them."""
        left, top, right, bottom = _AROUND[kind]
        x, y = self._at(left, self._height - bottom)
        end, upper = self._at(self._width - right, top)
        return self._figure.add_axes((x, y, end - x, upper - y))

    def _at(self, x: float, y: float) -> tuple[float, float]:
        """The figure's coordinates of a pixel."""
        width, height = self._all
        return (self._left + x) / width, 1 - (self._top + y) / height


def _png(canvas: FigureCanvasAgg) -> bytes:
    """Few colours, so that it may lie in a repository."""
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    out = io.BytesIO()
    image.quantize(128).save(out, format="PNG", optimize=True)
    return out.getvalue()
