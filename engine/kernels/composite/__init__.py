"""Volume rendering along rays, from densities to sums, in one pass each way."""

import torch
from jaxtyping import Float
from torch import Tensor

from engine import kernels
from engine.kernels.composite import reference
from engine.kernels.composite.reference import Composited

__all__ = ["Composited", "composite"]


def composite(
    sigma: Float[Tensor, "*r N"],
    delta: Float[Tensor, "*r N"],
    *values: Float[Tensor, "*r N _"],
) -> Composited:
    """Weights of the samples of each ray, its opacity, and weighted sums of values along it.

    w_i = exp(-sum_{j<i} sigma_j delta_j) (1 - exp(-sigma_i delta_i)), sums sum_i w_i v_i: with
    v a colour (C channels), a distance (C = 1) or a normal (C = 3), any number of them. A sample
    without length or density weighs nothing, so a ray that misses the scene has delta 0.

    Differentiable once, in sigma and the values. sigma and delta are 0 or more and finite. Sums
    are formed in float32 (float64 for float64), and so are the results.
    """
    if not kernels.is_fused(sigma) or sigma.dtype == torch.float64:
        return reference.composite(sigma, delta, *values)
    from engine.kernels.composite import fused

    return fused.composite(sigma, delta, *values)
