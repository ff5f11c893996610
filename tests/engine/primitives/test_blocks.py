import pytest
import torch
from torch import Tensor

from engine.primitives.blocks import BLOCKS
from engine.primitives.grammar import SOLIDS
from engine.primitives.shape import Proportions
from engine.primitives.solids import points

STEP = 0.02
PROPORTIONS = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.4, 0.7]])


def inside(kind: str) -> list[Tensor]:
    """Grid points inside the block of each row of `PROPORTIONS`."""
    axis = torch.arange(-0.9, 0.9 + STEP, STEP, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis, axis)
    u = Proportions(PROPORTIONS.double())
    gaps = BLOCKS[kind](u).distance(points(grid.expand(len(PROPORTIONS), -1, -1)))
    return [grid[row < 0] for row in gaps]


def test_every_solid_is_a_block() -> None:
    assert tuple(BLOCKS) == SOLIDS


@pytest.mark.parametrize("kind", SOLIDS)
def test_a_block_is_as_wide_and_as_high_as_it_says(kind: str) -> None:
    block = BLOCKS[kind](Proportions(PROPORTIONS))
    for row, body in enumerate(inside(kind)):
        for axis, said in ((1, block.half_width), (2, block.half_height)):
            half = float(said[row])
            for found in (float(body[:, axis].max()), -float(body[:, axis].min())):
                # The tip of a cone may lie between points of the grid.
                assert half - 3 * STEP < found <= half + 1e-6


@pytest.mark.parametrize("place", [(0.0, 0.0), (0.6, 0.0), (-0.8, 0.2), (0.0, 0.7), (0.3, -0.5)])
@pytest.mark.parametrize("kind", SOLIDS)
def test_a_block_reaches_as_far_as_its_farthest_point(
    kind: str, place: tuple[float, float]
) -> None:
    y, z = (torch.full((len(PROPORTIONS), 1), along) for along in place)
    said = BLOCKS[kind](Proportions(PROPORTIONS)).reach(y, z)
    for row, body in enumerate(inside(kind)):
        away = body + torch.tensor([0.0, *place])
        found = float(away.norm(dim=1).max())
        assert found <= float(said[row]) + 1e-6
        assert found > float(said[row]) - 3 * STEP
