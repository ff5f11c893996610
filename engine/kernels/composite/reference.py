"""`engine.kernels.composite` in plain torch."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from engine import volume


@dataclass(frozen=True)
class Composited:
    """What the samples of a ray amount to."""

    weights: Float[Tensor, "*r N"]
    opacity: Float[Tensor, "*r"]
    """Sum of the weights, in [0, 1]."""
    sums: tuple[Float[Tensor, "*r _"], ...]
    """Weighted sums, one for each of the values."""


def composite(
    sigma: Float[Tensor, "*r N"],
    delta: Float[Tensor, "*r N"],
    *values: Float[Tensor, "*r N _"],
) -> Composited:
    """See the package."""
    dtype = torch.promote_types(sigma.dtype, torch.float32)
    weights = volume.composite(sigma.to(dtype), delta.to(dtype))
    sums = tuple(volume.accumulate(weights, v.to(dtype)) for v in values)
    return Composited(weights=weights, opacity=weights.sum(-1), sums=sums)
