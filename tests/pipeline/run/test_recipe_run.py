from typing import Literal

import pytest

from engine import slots
from pipeline.commands.run import parse
from pipeline.run.recipe_run import MOST_SLOTS, is_worth_compiling, slots_of


@pytest.mark.parametrize(
    ("asked", "recipe", "use_gpu", "expected"),
    [
        (None, 8, True, (8, False)),
        (3, 8, True, (3, False)),
        ("auto", 8, True, (MOST_SLOTS, True)),
        ("auto", 40, True, (40, True)),
        # A CPU has nothing to measure.
        ("auto", 2, False, (2, False)),
        (4, 2, False, (4, False)),
    ],
)
def test_who_decides_on_the_slots(
    asked: int | Literal["auto"] | None, recipe: int, use_gpu: bool, expected: tuple[int, bool]
) -> None:
    assert slots_of(asked, recipe, use_gpu=use_gpu) == expected


def test_the_engine_s_benchmarks_go_up_to_as_many() -> None:
    assert slots.MOST == MOST_SLOTS


@pytest.mark.parametrize(
    ("words", "expected"), [([], None), (["--slots", "4"], 4), (["--slots", "auto"], "auto")]
)
def test_slots_are_a_number_or_auto(words: list[str], expected: object) -> None:
    settings = parse(["--manifest", "m", "--output", "o", *words], prog="run")
    assert settings.slots == expected
    settings.check()


@pytest.mark.parametrize(
    ("num_scenes", "num_slots", "iterations", "expected"),
    [(1, 4, 5000, True), (4, 4, 400, False), (80, 8, 400, True), (72, 8, 400, False)],
)
def test_networks_are_compiled_for_thousands_of_steps(
    num_scenes: int, num_slots: int, iterations: int, expected: bool
) -> None:
    assert is_worth_compiling(num_scenes, num_slots, iterations) == expected
