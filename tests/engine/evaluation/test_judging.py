"""Verdicts with known answers: right, swapped, bare and missing assets; shuffled captions."""

import dataclasses
import random

import pytest
import torch

from engine.evaluation.judging import evaluate, verdicts, verdicts_of_pictures
from engine.evaluation.lexicon import Lexicon
from engine.evaluation.pools import with_swaps
from engine.evaluation.stage import Staged, show_scenes, show_true_shapes
from engine.evaluation.verdict import figures
from engine.primitives.grammar import COLOURS, Spec, geometries, specs
from tests.engine.evaluation.oracles import KNOWN
from tests.engine.export.subjects import Box, Solids

WANTED = Spec("cube", ("green", "blue"), "on", "cube")


def tower(above: tuple[float, float, float], below: tuple[float, float, float]) -> Solids:
    """A box on a box; the seam lies in the middle of the picture."""
    top = Box(centre=(0.0, 0.0, 0.3), half=(0.22, 0.22, 0.27), colour=above)
    bottom = Box(centre=(0.0, 0.0, -0.27), half=(0.27, 0.27, 0.3), colour=below)
    return Solids(parts=(top, bottom), peak=2000.0)


RIGHT = tower(COLOURS["green"], COLOURS["blue"])
SWAPPED = tower(COLOURS["blue"], COLOURS["green"])
BARE = tower(COLOURS["white"], COLOURS["white"])


def test_a_right_asset_a_swapped_one_and_a_bare_one(lexicon: Lexicon) -> None:
    staged = show_scenes([RIGHT, SWAPPED, BARE, None])
    pool = with_swaps([WANTED, Spec("cube", ("pink",))])
    right, swapped, bare, missing = verdicts(staged, [WANTED] * 4, lexicon, pool)
    assert (right.colour_place, right.benchmark_place, right.beats_swap) == (0, 0, True)
    assert right.colours_right == (True, True)
    assert swapped.colour_place > 0
    assert swapped.benchmark_place is not None
    assert swapped.benchmark_place > 0
    assert (swapped.colours_right, swapped.beats_swap) == ((False, False), False)
    assert (bare.colours_right, bare.beats_swap) == ((False, False), False)
    assert bare.colour_place > 20
    # Without colour the three are one: geometry pictures show none.
    assert right.geometry_place == swapped.geometry_place == bare.geometry_place
    assert (missing.colour_place, missing.geometry_place, missing.benchmark_place) == (63, 62, 2)
    assert (missing.taken_for, missing.beats_swap) == (None, False)


def test_evaluate_is_the_figures_of_the_verdicts(lexicon: Lexicon) -> None:
    scenes, wanted = [RIGHT, SWAPPED, None], [WANTED] * 3
    expected = figures(verdicts(show_scenes(scenes), wanted, lexicon))
    found = evaluate(scenes, wanted, lexicon)
    assert found == expected
    assert (found.count, found.colour_retrieval, found.against_swap) == (3, 1 / 3, 1 / 3)


@pytest.fixture(scope="module")
def truth() -> tuple[list[Spec], Staged]:
    """True shapes of geometries that the oracle knows, of middling proportions."""
    draw = random.Random(4)
    wanted = [draw.choice([s for s in specs() if s.geometry == g]) for g in KNOWN[:3]]
    return wanted, show_true_shapes(wanted, torch.full((3, 6), 0.5))


def test_true_shapes_are_known_by_their_outlines(
    truth: tuple[list[Spec], Staged], lexicon: Lexicon
) -> None:
    wanted, staged = truth
    found = verdicts(staged, wanted, lexicon)
    assert [verdict.geometry_place for verdict in found] == [0, 0, 0]
    assert all(verdict.beats_swap for verdict in found)
    assert all(verdict.is_kind_right for verdict in found)


def test_shuffled_captions_are_found_by_chance(
    truth: tuple[list[Spec], Staged], lexicon: Lexicon
) -> None:
    wanted, staged = truth
    places: list[int] = []
    for shift in range(1, len(wanted)):
        found = verdicts(staged, wanted[shift:] + wanted[:shift], lexicon)
        places += [
            verdict.geometry_place for verdict in found if verdict.geometry_place is not None
        ]
    # The true outline is always another's, so at least one stands before the own.
    assert len(places) == 6
    assert min(places) > 0


def test_pictures_without_textureless_twins(lexicon: Lexicon) -> None:
    staged = show_scenes([RIGHT])
    (full,) = verdicts(staged, [WANTED], lexicon)
    (bare,) = verdicts_of_pictures(staged.colour, [WANTED], lexicon)
    assert bare == dataclasses.replace(full, geometry_place=None)
    assert len(geometries()) == 63
