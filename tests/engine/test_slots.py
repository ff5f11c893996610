import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine import recipes, slots
from engine.guidance.pixel import PixelGuidance

GIB = 2**30


def linear(model: float, scene: float, asked: list[int]) -> Callable[[int], int]:
    def probe(number: int) -> int:
        asked.append(number)
        return int((model + number * scene) * GIB)

    return probe


@pytest.mark.parametrize(
    ("scene", "room", "expected"),
    [
        (1.0, 10 + 16.0, 16),
        (1.0, 10 + 15.9, 8),
        (1.0, 10 + 8.0, 8),
        (1.0, 10 + 7.9, 4),
        (1.0, 10 + 2.0, 2),
        (1.0, 10 + 1.5, 1),
        # Not even one fits: the gang itself says what is to be done about that.
        (1.0, 5.0, 1),
        (0.0, 11.0, 16),
    ],
)
def test_the_largest_power_of_two_that_fits(scene: float, room: float, expected: int) -> None:
    asked: list[int] = []
    found = slots.extrapolated(linear(10.0, scene, asked), room=int(room * GIB), most=16)
    assert found == expected
    assert asked == [1, 2], "no larger gang is built than needs be"


@pytest.mark.parametrize(("most", "expected"), [(1, 1), (2, 2), (3, 2), (8, 8), (11, 8)])
def test_there_are_never_more_than_the_most(most: int, expected: int) -> None:
    probe = linear(1.0, 0.001, [])
    assert slots.extrapolated(probe, room=100 * GIB, most=most) == expected


def test_a_second_scene_without_room_leaves_one() -> None:
    assert slots.extrapolated(lambda n: 2**62 if n > 1 else GIB, room=80 * GIB, most=16) == 1


def test_the_log_says_why(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="engine.slots"):
        slots.extrapolated(linear(10.0, 2.0, []), room=20 * GIB, most=16)
    (line,) = caplog.messages
    assert line == (
        "slots: 4; one scene fills 12.00 GiB, each further 2.00, there is room for 20.00"
    )


def test_on_a_cpu_it_is_the_recipe_s_number(tiny_weights: Path) -> None:
    guidance = PixelGuidance.load(tiny_weights, device="cpu", dtype=torch.float32, with_texts=False)
    assert slots.fitting(recipes.get("smoke"), guidance, most=16) == 2
    assert slots.fitting(recipes.get("primitives_cpu"), guidance, most=16) == 1


@pytest.mark.gpu
def test_a_gpu_is_measured(tiny_weights: Path) -> None:
    guidance = PixelGuidance.load(tiny_weights, device="cuda", with_texts=False)
    r = recipes.get("primitives")
    one, two = (slots.peak_bytes(r, guidance, number) for number in (1, 2))
    assert 0 < one < two < 2**36
    assert slots.fitting(r, guidance, most=4) == 4
