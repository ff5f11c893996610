"""Figures by hand."""

import dataclasses
import json

import pytest

from engine.evaluation.verdict import Verdict, figures, share
from engine.primitives.grammar import Spec

RED = Spec("cube", ("red",))
CUP = Spec("cup", ("red", "blue"))
CAR = Spec("car", ("red", "blue", "grey"))

GOOD = Verdict(
    spec=RED,
    taken_for=Spec("cube", ("blue",)),
    colour_place=0,
    geometry_place=0,
    benchmark_place=0,
    colours_right=(True,),
    beats_swap=None,
)
FAIR = Verdict(
    spec=CUP,
    taken_for=Spec("car", ("red",)),
    colour_place=1,
    geometry_place=5,
    benchmark_place=0,
    colours_right=(True, False),
    beats_swap=True,
)
POOR = Verdict(
    spec=CAR, taken_for=None, colour_place=63, colours_right=(False,) * 3, beats_swap=False
)


def test_share() -> None:
    assert share([]) is None
    assert share([True, False, False, False]) == 0.25


def test_figures() -> None:
    found = figures([GOOD, FAIR, POOR])
    assert found.count == 3
    assert found.colour_retrieval == pytest.approx(1 / 3)
    assert found.geometry_retrieval == 0.5
    assert found.benchmark_retrieval == 1.0
    assert found.kind == pytest.approx(1 / 3)
    assert found.colour == pytest.approx(2 / 6)
    assert found.first_colour == pytest.approx(2 / 3)
    assert (found.second_colour, found.third_colour) == (0.0, 0.0)
    assert found.all_colours == pytest.approx(1 / 3)
    assert found.against_swap == 0.5


def test_what_was_not_asked_has_no_figure() -> None:
    found = figures([dataclasses.replace(GOOD, geometry_place=None, benchmark_place=None)])
    assert found.geometry_retrieval is found.benchmark_retrieval is found.against_swap is None
    assert found.second_colour is found.third_colour is None
    assert figures([]).colour_retrieval is None


def test_rows_are_plain() -> None:
    row = POOR.as_row()
    assert row["caption"] == "a red car with blue wheels and grey roof"
    assert (row["family"], row["kind"], row["taken_for"]) == ("three colours", "car", None)
    assert (row["colours_right"], row["kind_right"]) == ([False] * 3, False)
    assert GOOD.as_row()["taken_for"] == "a blue cube"


@pytest.mark.parametrize("verdict", [GOOD, FAIR, POOR])
def test_a_row_is_read_back(verdict: Verdict) -> None:
    assert Verdict.from_row(json.loads(json.dumps(verdict.as_row()))) == verdict
