import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.guidance.prompts import VIEWS, view_word, with_view


@pytest.mark.parametrize(
    ("azimuth", "elevation", "expected"),
    [
        (0, 0, "front view"),
        (44.9, 0, "front view"),
        (-44.9, 60, "front view"),
        (45, 0, "side view"),
        (90, -10, "side view"),
        (270, 0, "side view"),
        (135, 0, "side view"),
        (135.1, 0, "back view"),
        (180, 0, "back view"),
        (-180, 0, "back view"),
        (224.9, 0, "back view"),
        (225, 0, "side view"),
        (315, 0, "side view"),
        (315.1, 0, "front view"),
        (0, 60.1, "overhead view"),
        (180, 90, "overhead view"),
    ],
)
def test_view_word(azimuth: float, elevation: float, expected: str) -> None:
    assert view_word(azimuth, elevation) == expected


@given(st.floats(-1e4, 1e4), st.floats(-90, 60))
def test_quadrants_by_the_camera_s_position(azimuth: float, elevation: float) -> None:
    """Front where x outweighs y, back where -x does: the object's front faces +X."""
    x, y = math.cos(math.radians(azimuth)), math.sin(math.radians(azimuth))
    word = view_word(azimuth, elevation)
    if abs(abs(x) - abs(y)) < 1e-6:
        return
    expected = "side view" if abs(y) > abs(x) else ("front view" if x > 0 else "back view")
    assert word == expected


@given(st.integers(-1000, 1000), st.floats(-90, 90), st.integers(-5, 5))
def test_azimuth_is_taken_modulo_a_turn(azimuth: int, elevation: float, turns: int) -> None:
    assert view_word(azimuth, elevation) == view_word(azimuth + 360 * turns, elevation)


@given(st.floats(0, 360), st.floats(-90, 90))
def test_left_and_right_are_the_same_and_every_word_is_a_view(
    azimuth: float, elevation: float
) -> None:
    assert view_word(azimuth, elevation) in VIEWS
    # Exact numbers, so that mirroring does not round across a boundary.
    azimuth = round(azimuth * 4) / 4
    assert view_word(azimuth, elevation) == view_word(-azimuth, elevation)


def test_with_view_adds_the_words() -> None:
    assert with_view("a red mushroom", "front view") == "a red mushroom, front view"
