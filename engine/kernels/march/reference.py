"""`engine.kernels.march` in plain torch. Axes: S scenes, R rays, M bins, N samples."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


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
    """See the package."""
    num_samples = u.shape[-1]
    bin_length = (far - near)[..., None] / num_bins
    bins = torch.arange(num_bins, device=u.device) + 0.5
    middle = near[..., None] + bins * bin_length
    hit = _look_up(is_occupied, origins, directions, middle, grid_size, bound)
    hit = hit | ~hit.any(dim=-1, keepdim=True)
    passed = hit.cumsum(dim=-1).to(u.dtype)
    total = passed[..., -1:]
    wanted = total * (torch.arange(num_samples, device=u.device) + u) / num_samples
    # Rounding can put the last sample at the very end, past which no occupied bin follows.
    last = torch.searchsorted(passed, total.contiguous())
    index = torch.searchsorted(passed, wanted, right=True).minimum(last)
    within = wanted - (passed.gather(-1, index) - 1.0)
    distance = near[..., None] + (index + within) * bin_length
    return distance, (total / num_samples * bin_length).expand_as(distance)


def _look_up(
    is_occupied: Bool[Tensor, "S cells"],
    origins: Float[Tensor, "S R 3"],
    directions: Float[Tensor, "S R 3"],
    distance: Float[Tensor, "S R M"],
    grid_size: int,
    bound: float,
) -> Bool[Tensor, "S R M"]:
    """Whether the cells at these distances are occupied."""
    # One axis at a time keeps the largest temporary a third as large.
    index = torch.zeros(distance.shape, dtype=torch.long, device=distance.device)
    for axis in (2, 1, 0):
        x = origins[..., None, axis] + distance * directions[..., None, axis]
        cell = ((x + bound) * (0.5 * grid_size / bound)).long().clamp(0, grid_size - 1)
        index = index * grid_size + cell
    return is_occupied.gather(1, index.flatten(1)).view(index.shape)
