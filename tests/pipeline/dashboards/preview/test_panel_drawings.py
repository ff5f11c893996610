"""What is drawn into a panel's axes, looked up in the axes themselves."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from pipeline.dashboards.panels import Json, heatmap, series, stat
from pipeline.dashboards.preview import panel_drawings
from pipeline.dashboards.preview.panel_drawings import NAMED, buckets, lines, moments
from pipeline.dashboards.preview.prometheus import Series, Span

SPAN = Span(start=0.0, end=600.0)
TIMES = tuple(60.0 * k for k in range(11))


def _drawn(panel: Json, found: Sequence[Series]) -> Axes:
    axes = Figure(figsize=(6, 3)).add_axes((0.1, 0.2, 0.8, 0.7))
    shown = lines(panel["targets"][0], found)
    panel_drawings.DRAWINGS[panel["type"]](axes, panel, shown, SPAN)
    return axes


def _of(labels: Mapping[str, str], *values: float) -> Series:
    return Series(labels=labels, times=TIMES[: len(values)], values=values)


def _texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_a_stat_is_the_last_value_that_is_a_number() -> None:
    panel = stat("A", "B.", "s", {"x": "up"}, [])
    assert _texts(_drawn(panel, [_of({}, 1.0, 90.0, math.nan)])) == ["1.5 min"]


def test_a_stat_of_several_names_them() -> None:
    panel = stat("A", "B.", "none", {"{{score}}": "up"}, [])
    found = [_of({"score": "j2"}, 0.5), _of({"score": "clip"}, 0.25)]
    assert _texts(_drawn(panel, found)) == ["clip 0.25\nj2 0.5"]


def test_a_stat_may_be_its_legend() -> None:
    panel = stat("A", "B.", "none", {"{{a}} · {{b}}": "up"}, [], show="name")
    assert _texts(_drawn(panel, [_of({"a": "x", "b": "y"}, 1.0)])) == ["x · y"]


@pytest.mark.parametrize(
    "panel",
    [
        stat("A", "B.", "s", {"x": "up"}, []),
        series("A", "B.", "s", {"x": "up"}, []),
        series("A", "B.", "s", {"x": "up"}, [], stacked=True),
        heatmap("A", "B.", "s", "up", []),
    ],
    ids=["stat", "series", "stacked", "heatmap"],
)
@pytest.mark.parametrize(
    "found", [[], [_of({"le": "+Inf"}, math.nan, math.nan)]], ids=["none", "nan"]
)
def test_nothing_is_said(panel: Json, found: list[Series]) -> None:
    assert _texts(_drawn(panel, found)) == ["No data"]


def test_lines_are_the_values_in_the_legends_order() -> None:
    panel = series("A", "B.", "short", {"{{x}}": "up"}, [])
    axes = _drawn(panel, [_of({"x": "b"}, 3.0, 4.0), _of({"x": "a"}, 1.0, 2.0)])
    assert [np.asarray(line.get_ydata()).tolist() for line in axes.lines] == [
        [1.0, 2.0],
        [3.0, 4.0],
    ]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    assert axes.get_ylim()[0] == 0
    assert axes.get_xlim() == (0.0, 600.0)


def test_a_line_has_a_gap_where_prometheus_had_nothing() -> None:
    panel = series("A", "B.", "short", {"x": "up"}, [])
    broken = Series(labels={}, times=(0.0, 60.0, 240.0, 300.0), values=(1.0, 2.0, 3.0, 4.0))
    (line,) = _drawn(panel, [broken]).lines
    drawn = np.asarray(line.get_ydata(), dtype=float)
    assert np.array_equal(drawn, [1.0, 2.0, math.nan, 3.0, 4.0], equal_nan=True)


def test_stacked_lines_stand_on_one_another() -> None:
    panel = series("A", "B.", "short", {"{{x}}": "up"}, [], stacked=True)
    found = [_of({"x": "a"}, 1.0, 2.0, 3.0), _of({"x": "b"}, 10.0, 0.0, 30.0)]
    first, second = _drawn(panel, found).lines
    assert list(np.asarray(first.get_ydata())) == [1.0, 2.0, 3.0]
    # Where it adds nothing, its edge would hide the one below.
    assert np.array_equal(
        np.asarray(second.get_ydata(), dtype=float), [11.0, math.nan, 33.0], equal_nan=True
    )


def test_a_panels_own_colours_are_used_once() -> None:
    query = 'sum by (status) (dreambatch_meshes_total{instance="$instance"})'
    panel = series("A", "B.", "short", {"{{status}}": query}, [])
    found = [_of({"status": name}, 1.0, 2.0) for name in ("empty", "ok", "another")]
    colours = {
        name: to_hex(line.get_color())
        for name, line in zip(("another", "empty", "ok"), _drawn(panel, found).lines, strict=True)
    }
    assert colours["ok"] == NAMED["green"]
    assert colours["empty"] == NAMED["red"]
    assert colours["another"] not in (NAMED["green"], NAMED["red"])


def test_both_signs_of_a_logarithm_are_drawn() -> None:
    panel = series("A", "B.", "none", {"x": "up"}, [], scale="symmetric logarithm")
    axes = _drawn(panel, [_of({}, -100.0, 0.0, 100.0)])
    assert axes.get_yscale() == "symlog"
    low, high = axes.get_ylim()
    assert low < -100 < 100 < high


def test_a_legend_of_many_counts_the_rest() -> None:
    panel = series("A", "B.", "short", {"{{x}}": "up"}, [])
    axes = _drawn(panel, [_of({"x": f"name number {k}"}, 1.0, 2.0) for k in range(40)])
    legend = axes.get_legend()
    assert legend is not None
    said = [text.get_text() for text in legend.get_texts()]
    assert said[-1] == f"and {40 - len(said) + 1} more"
    assert 2 <= len(said) < 40


def test_a_cell_is_what_fell_between_two_bounds() -> None:
    counts = {"0.1": (0.0, 1.0), "0.5": (2.0, 1.0), "+Inf": (2.0, 4.0)}
    found = [_of({"le": bound}, *values) for bound, values in counts.items()]
    times, bounds, cells = buckets(list(reversed(found)))
    assert times == [0.0, 60.0]
    assert bounds == [0.1, 0.5, math.inf]
    assert cells.tolist() == [[0.0, 1.0], [2.0, 0.0], [0.0, 3.0]]


@given(
    st.lists(
        st.lists(st.integers(0, 5), min_size=4, max_size=4),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=50, deadline=None)
def test_cells_are_the_histogram_that_was_counted(fallen: list[list[int]]) -> None:
    """The oracle counts forwards, as a histogram does."""
    below = [[sum(moment[: row + 1]) for moment in fallen] for row in range(4)]
    found = [
        Series(
            labels={"le": str(row)},
            times=tuple(float(k) for k in range(len(fallen))),
            values=tuple(map(float, values)),
        )
        for row, values in enumerate(below)
    ]
    _, _, cells = buckets(found)
    assert cells.T.tolist() == fallen


def test_a_heatmap_shows_the_rows_that_something_fell_into() -> None:
    panel = heatmap("A", "B.", "short", "up", [])
    counts = {"1": 0.0, "10": 0.0, "100": 3.0, "1000": 7.0, "+Inf": 7.0}
    axes = _drawn(panel, [_of({"le": bound}, value, value) for bound, value in counts.items()])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["100", "1 K"]
    (mesh,) = axes.collections
    shades = np.ma.filled(np.ma.asarray(mesh.get_array()), 0.0)
    assert shades.tolist() == [[3**0.5] * 2, [2.0] * 2]


@given(st.integers(0, 2 * 10**12), st.integers(10**3, 10**10))
@settings(max_examples=100, deadline=None)
def test_moments_are_round_and_few(start_ms: int, length_ms: int) -> None:
    start, length = start_ms / 1000, length_ms / 1000
    found = moments(Span(start=start, end=start + length))
    assert len(found) <= 7
    assert all(start <= moment <= start + length for moment in found)
    gaps = {round(b - a) for a, b in itertools.pairwise(found)}
    assert len(gaps) <= 1
