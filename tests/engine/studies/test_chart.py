"""The chart, read back as XML."""

import math
import xml.etree.ElementTree as ET

import pytest

from engine.studies.chart import HEIGHT, WIDTH, Point, Series, chart

SVG = "{http://www.w3.org/2000/svg}"
LINE = [Point(x=x, y=y, name=f"at {x}") for x, y in ((1600, 0.9), (200, 0.5), (400, 0.7))]
SERIES = [
    Series(name="colour <1>", line=LINE, marks=[Point(x=400, y=0.8, name="fast & good")]),
    Series(name="geometry", line=LINE[:1], marks=[]),
]


def drawn() -> ET.Element:
    return ET.fromstring(chart(SERIES, x_name="evaluations", y_name="share", marks_name="fast"))


def test_places_are_logarithmic_across_and_linear_upwards() -> None:
    first = drawn().findall(f"{SVG}polyline")[0]
    points = [tuple(map(float, p.split(","))) for p in first.attrib["points"].split()]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert (x2 - x0) / (x1 - x0) == pytest.approx(math.log(8) / math.log(2), abs=0.01)
    assert (y0 - y2) / (y0 - y1) == pytest.approx(2.0, abs=0.01)
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in points)


def test_names_are_shown_and_escaped() -> None:
    texts = [node.text for node in drawn().iter(f"{SVG}text")]
    for wanted in ("colour <1>", "geometry", "evaluations", "share", "fast", "1,000", "0.5", "1.0"):
        assert wanted in texts
    titles = [node.text for node in drawn().iter(f"{SVG}title")]
    assert titles == ["at 200", "at 400", "at 1600", "fast & good", "at 1600"]
    assert "fast & good" not in chart(SERIES[1:], x_name="", y_name="")


def test_marks_are_hollow_and_the_point_of_the_same_place_is_not() -> None:
    circles = [c for c in drawn().iter(f"{SVG}circle") if c.find(f"{SVG}title") is not None]
    assert [c.attrib["fill"] == "white" for c in circles] == [False] * 3 + [True] + [False]
    mark, point = circles[3].attrib, circles[1].attrib
    assert mark["cx"] == point["cx"]
    assert float(mark["cy"]) < float(point["cy"])


def test_a_chart_of_nothing_has_its_axes() -> None:
    root = ET.fromstring(chart([], x_name="evaluations", y_name="share"))
    assert not root.findall(f"{SVG}polyline")
    assert root.findall(f"{SVG}line")
