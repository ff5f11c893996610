"""Which cells of a lattice are inside the object.

Inside means a density above a level. Small islands are dropped and cavities that nothing reaches
from outside are filled: both are products of the optimisation that no one asked for. Cells are
joined through corners when inside (26 neighbours) and through faces when outside (6), so that two
parts which are told apart never meet in one cube of marching cubes.
"""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, Int

LEVEL_FACTORS = (1.0, 0.5, 0.25, 0.1)
"""Shares of the wanted level, tried in turn until something lies above."""
_LEAST_SHARE = 1e-4
"""Part of the lattice that must lie above a level; less is a crumb."""
_ISLAND_SHARE = 0.02
"""An island smaller than this part of the largest is dropped."""


@dataclass(frozen=True, kw_only=True)
class Solid:
    """The object as cells."""

    level: float
    """Density of its surface."""
    inside: Bool[np.ndarray, "n n n"]


def find(density: Float[np.ndarray, "n n n"], wanted: float) -> Solid | None:
    """What lies above the wanted level, or above the first lower one that anything does; None if
    there is nothing."""
    level = find_level(density, wanted)
    if level is None:
        return None
    return Solid(level=level, inside=without_cavities(without_islands(density > level)))


def find_level(density: Float[np.ndarray, "n n n"], wanted: float) -> float | None:
    """The highest of `LEVEL_FACTORS` x wanted above which more than a crumb lies; None if none."""
    for factor in LEVEL_FACTORS:
        if np.count_nonzero(density > factor * wanted) > _LEAST_SHARE * density.size:
            return factor * wanted
    return None


def without_islands(inside: Bool[np.ndarray, "n n n"]) -> Bool[np.ndarray, "n n n"]:
    """The largest connected part and those of at least `_ISLAND_SHARE` of its cells."""
    labels = _labels(inside, np.ones((3, 3, 3)))
    cells = np.bincount(labels.ravel())
    cells[0] = 0
    return (cells >= max(1.0, _ISLAND_SHARE * cells.max()))[labels]


def without_cavities(inside: Bool[np.ndarray, "n n n"]) -> Bool[np.ndarray, "n n n"]:
    """The same with every hollow filled that no path of outside cells joins to the border."""
    labels = _labels(np.pad(~inside, 1, constant_values=True), None)
    return (labels != labels[0, 0, 0])[1:-1, 1:-1, 1:-1]


def _labels(
    cells: Bool[np.ndarray, "a b c"], structure: np.ndarray | None
) -> Int[np.ndarray, "a b c"]:
    """Number of the connected part that each cell belongs to; 0 where `cells` is false."""
    labels = np.empty(cells.shape, dtype=np.int32)
    scipy.ndimage.label(cells, structure, output=labels)
    return labels
