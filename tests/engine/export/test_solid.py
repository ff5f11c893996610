import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.export import solid

NEIGHBOURS_26 = [d for d in np.ndindex(3, 3, 3) if d != (1, 1, 1)]
NEIGHBOURS_6 = [d for d in NEIGHBOURS_26 if sum(x != 1 for x in d) == 1]


def _flood(cells: np.ndarray, start: tuple[int, ...], steps: list[tuple[int, ...]]) -> np.ndarray:
    """Cells that a walk from `start` reaches."""
    reached = np.zeros_like(cells)
    stack = [start]
    while stack:
        cell = stack.pop()
        if min(cell) < 0 or any(i >= n for i, n in zip(cell, cells.shape, strict=True)):
            continue
        if not cells[cell] or reached[cell]:
            continue
        reached[cell] = True
        stack += [tuple(i + d - 1 for i, d in zip(cell, step, strict=True)) for step in steps]
    return reached


def _random(seed: int, share: float) -> np.ndarray:
    return np.random.default_rng(seed).random((6, 6, 6)) < share


@given(seed=st.integers(0, 999), share=st.floats(0.02, 0.9))
def test_cavities_are_what_no_walk_from_outside_reaches(seed: int, share: float):
    inside = _random(seed, share)
    outside = _flood(np.pad(~inside, 1, constant_values=True), (0, 0, 0), NEIGHBOURS_6)
    assert (solid.without_cavities(inside) == ~outside[1:-1, 1:-1, 1:-1]).all()


def test_a_hollow_is_filled():
    inside = np.zeros((7, 7, 7), dtype=bool)
    inside[1:6, 1:6, 1:6] = True
    inside[3, 3, 3] = False
    filled = solid.without_cavities(inside)
    assert filled[3, 3, 3]
    assert filled.sum() == 125


def _naive_without_islands(inside: np.ndarray) -> np.ndarray:
    """Keeps the parts, found by walking, of at least 2 % of the largest one's cells."""
    parts = {}
    for cell in zip(*np.nonzero(inside), strict=True):
        part = _flood(inside, cell, NEIGHBOURS_26)
        parts[part.tobytes()] = part
    least = 0.02 * max(part.sum() for part in parts.values())
    return np.any([part for part in parts.values() if part.sum() >= least], axis=0)


@pytest.mark.parametrize(("seed", "share"), [(0, 0.05), (1, 0.15), (2, 0.15), (3, 0.2)])
def test_islands_are_found_as_by_walking(seed: int, share: float):
    """Above a share of about .1 one part holds most cells, and single ones are islands."""
    inside = np.random.default_rng(seed).random((9, 9, 9)) < share
    kept = solid.without_islands(inside)
    assert (kept == _naive_without_islands(inside)).all()
    assert bool((kept != inside).any()) is (share > 0.1)


def test_a_speck_goes_and_a_second_large_part_stays():
    inside = np.zeros((20, 20, 20), dtype=bool)
    inside[1:8, 1:8, 1:8] = True
    inside[12:16, 12:16, 12:16] = True
    inside[18, 2:8, 18] = True
    kept = solid.without_islands(inside)
    assert kept.sum() == 7**3 + 4**3
    assert not kept[18].any()


def test_nothing_stays_nothing():
    nothing = np.zeros((4, 4, 4), dtype=bool)
    assert not solid.without_islands(nothing).any()
    assert not solid.without_cavities(nothing).any()


@pytest.mark.parametrize(
    ("peak", "expected"), [(50.0, 10.0), (9.0, 5.0), (4.0, 2.5), (2.0, 1.0), (0.9, None)]
)
def test_level_sinks_until_something_lies_above(peak: float, expected: float | None):
    density = np.zeros((30, 30, 30))
    density[5:9, 5:9, 5:9] = peak
    density[0, 0, 0] = 1000.0
    assert solid.find_level(density, 10.0) == expected
