"""Stratified samples over the occupied part of each ray."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engine import kernels
from engine.kernels.march import reference


def march(
    is_occupied: Bool[Tensor, "S cells"],
    origins: Float[Tensor, "S R 3"],
    directions: Float[Tensor, "S R 3"],
    near: Float[Tensor, "S R"],
    far: Float[Tensor, "S R"],
    u: Float[Tensor, "S R N"],
    *,
    num_bins: int,
    grid_size: int,
    bound: float,
) -> tuple[Float[Tensor, "S R N"], Float[Tensor, "S R N"]]:
    """Distances of a ray's samples from its origin, and the length each stands for.

    The way from `near` to `far` is cut into equal bins, of which those count whose middle lies in
    an occupied cell of [-bound, bound]^3 (in the order z y x), or all if there is none. With L the
    length of those that count, sample k lies where L (k + u_k) / N of it is passed, and stands for
    L / N. u lies in [0, 1]. Nothing here is differentiable.
    """
    if not kernels.is_fused(origins) or origins.dtype == torch.float64:
        march = reference.march
    else:
        from engine.kernels.march import fused

        march = fused.march
    return march(
        is_occupied,
        origins,
        directions,
        near,
        far,
        u,
        num_bins=num_bins,
        grid_size=grid_size,
        bound=bound,
    )
