"""Volume rendering along rays.

sigma   density at a sample, per scene unit
delta   length of the interval a sample stands for, in scene units
alpha   opacity of the interval, 1 - exp(-sigma delta)
T       transmittance before the interval, exp(-sum of sigma delta in front of it)
w       weight, T alpha; sum(w) is the ray's opacity

Axes: r any ray axes, N samples from near to far, C channels. NeRF (arXiv 2003.08934), eq. 3.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def composite(sigma: Float[Tensor, "*r N"], delta: Float[Tensor, "*r N"]) -> Float[Tensor, "*r N"]:
    """Weights of the samples: w_i = exp(-sum_{j<i} sigma_j delta_j) (1 - exp(-sigma_i delta_i))."""
    optical = sigma * delta
    # Summing without the sample itself: subtracting it again would cancel before a dense one.
    before = F.pad(optical[..., :-1].cumsum(dim=-1), (1, 0))
    return torch.exp(-before) * -torch.expm1(-optical)


def accumulate(
    weights: Float[Tensor, "*r N"], values: Float[Tensor, "*r N C"]
) -> Float[Tensor, "*r C"]:
    """Weighted sum of per-sample values along each ray: sum_i w_i v_i."""
    return torch.einsum("...n,...nc->...c", weights, values)
