"""Dense lattices read by trilinear interpolation, all of them in one pass."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from engine import kernels
from engine.kernels.dense_encode import reference

__all__ = ["dense_encode", "memory_format"]


def dense_encode(
    grids: Sequence[Float[Tensor, "S C _ _ _"]], x: Float[Tensor, "S P 3"]
) -> Float[Tensor, "S P C"]:
    """Sum over the lattices of what each holds at the points: sum_k W_k(x) grid_k.

    Lattices are cubes with axes Z Y X, of any sizes; their outermost points lie on the faces of
    [-1, 1]^3. Beyond it the border's values hold, and nothing changes with x.

    The kernels are differentiable twice, in the lattices and the points; the reference once. They
    add up the lattices' gradient in an order of chance, and compute in float32; float64 is left to
    the reference.
    """
    if not kernels.is_fused(x) or x.dtype == torch.float64:
        return reference.dense_encode(grids, x)
    from engine.kernels.dense_encode import fused

    return fused.dense_encode(grids, x)


def memory_format(device: torch.device) -> torch.memory_format:
    """How lattices should lie in memory there.

    For kernels with the channels of a point side by side, which a thread then reads and adds at
    once; elsewhere channel by channel, as the native operation wants them.
    """
    return torch.channels_last_3d if kernels.is_fused_on(device) else torch.contiguous_format
