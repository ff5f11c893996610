"""`engine.kernels.dense_encode` in plain torch, the fast path of a CPU."""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def dense_encode(
    grids: Sequence[Float[Tensor, "S C _ _ _"]], x: Float[Tensor, "S P 3"]
) -> Float[Tensor, "S P C"]:
    """See the package."""
    values = sum(_read(grid, x) for grid in grids)
    assert isinstance(values, Tensor)
    return values


def _read(grid: Float[Tensor, "S C Z Y X"], x: Float[Tensor, "S P 3"]) -> Float[Tensor, "S P C"]:
    """One lattice: one native operation.

    It shares a batch, not its points, among a CPU's cores: so a scene's points come in two parts
    where they can. The number is fixed to keep results the same on any machine.
    """
    num_scenes, num_points, _ = x.shape
    parts = 2 if num_points % 2 == 0 else 1
    grid = grid[:, None].expand(-1, parts, -1, -1, -1, -1).flatten(0, 1)
    places = x.reshape(num_scenes * parts, 1, 1, -1, 3)
    values = F.grid_sample(grid, places, align_corners=True, padding_mode="border")
    return values[:, :, 0, 0].transpose(1, 2).reshape(num_scenes, num_points, -1)
