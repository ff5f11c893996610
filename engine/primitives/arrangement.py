"""Solids that stand together: one on another, one next to another, several in a row.

Legend: sizes s scale a block, so that its distance is s d(p / s); y and z are the place of its
centre. An arrangement is laid out in the second block's units around the origin, then all of it is
scaled until its farthest point is `MARGIN` inside the bounding sphere. Lengths are "B 1".
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from engine.primitives.blocks import BLOCKS, Block
from engine.primitives.grammar import Geometry
from engine.primitives.shape import BOUND, Proportions, Slots
from engine.primitives.solids import Distance, Points

MARGIN = 0.01
"""Room between an arrangement and the bounding sphere."""

ON_WIDTH = (0.7, 0.85)
"""Width of what stands on a block, relative to it: a stack is never one column."""

BESIDE_WIDTH = (0.75, 1.33)
"""Width of the left of two blocks, relative to the right one."""

BESIDE_GAP = (0.2, 0.5)
"""Gap between two blocks, relative to half the width of the right one."""

ROW_GAP = (0.4, 0.8)
"""Gap between the blocks of a row, relative to half the width of one."""


class Place(NamedTuple):
    """A block's size and the place of its centre."""

    size: Tensor
    y: Tensor
    z: Tensor

    def reach(self, block: Block) -> Tensor:
        """Distance from the origin to the farthest point of a block at this place."""
        return self.size * block.reach(self.y / self.size, self.z / self.size)

    def distance(self, block: Block, p: Points) -> Distance:
        """Signed distance to a block at this place."""
        return self.size * block.distance(p.about(y=self.y, z=self.z).scaled(self.size))


def _stacked(a: Block, b: Block, u: Proportions) -> tuple[Place, Place]:
    """The first on top of the second, their common height centred."""
    size = u(4, *ON_WIDTH) * b.half_width / a.half_width
    half = size * a.half_height + b.half_height
    zero = torch.zeros_like(size)
    return (
        Place(size, zero, half - size * a.half_height),
        Place(zero + 1.0, zero, b.half_height - half),
    )


def _beside(a: Block, b: Block, u: Proportions) -> tuple[Place, Place]:
    """The first at +Y, the second at -Y, on common ground."""
    size = u(4, *BESIDE_WIDTH) * b.half_width / a.half_width
    wide, gap = size * a.half_width, u(5, *BESIDE_GAP) * b.half_width
    half = wide + b.half_width + 0.5 * gap
    ground = -torch.maximum(size * a.half_height, b.half_height)
    return (
        Place(size, half - wide, ground + size * a.half_height),
        Place(torch.ones_like(size), b.half_width - half, ground + b.half_height),
    )


def _relation(geometry: Geometry, p: Points, proportions: Float[Tensor, "B K"]) -> Slots:
    a = BLOCKS[geometry.kind](Proportions(proportions[:, :2]))
    b = BLOCKS[geometry.other](Proportions(proportions[:, 2:4]))
    lay_out = _stacked if geometry.relation == "on" else _beside
    first, second = lay_out(a, b, Proportions(proportions))
    scale = (BOUND - MARGIN) / torch.maximum(first.reach(a), second.reach(b))
    p = p.scaled(scale)
    return scale * first.distance(a, p), scale * second.distance(b, p)


def _row(geometry: Geometry, p: Points, proportions: Float[Tensor, "B K"]) -> Slots:
    u = Proportions(proportions)
    block = BLOCKS[geometry.kind](u)
    pitch = (2.0 + u(5, *ROW_GAP)) * block.half_width
    end = 0.5 * (geometry.count - 1)
    scale = (BOUND - MARGIN) / block.reach(end * pitch, torch.zeros_like(pitch))
    p = p.scaled(scale)
    # Blocks are even in y, so the nearest of the row is the one in whose stretch a point lies.
    number = (p.y / pitch + end).round().clamp(0.0, 2.0 * end)
    return (scale * block.distance(p.about(y=(number - end) * pitch)),)


def arranged(geometry: Geometry, p: Points, proportions: Float[Tensor, "B K"]) -> Slots:
    """Signed distance to each colour slot of several solids: both of a relation, or a whole row.

    The solid read from proportions 0 and 1, a relation's second one from 2 and 3; 4 is the relative
    size, 5 the gap. Distances "B P" are 1-Lipschitz, in scene units; all lies inside `BOUND`.
    """
    return (_relation if geometry.relation else _row)(geometry, p, proportions)
