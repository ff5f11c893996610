"""Regularisers, each a mean over a scene's rays (or cells), before its weight.

w weights of samples along a ray, o = sum w opacity of a ray, t distance of a sample, delta the
length it stands for, n outward normal, d direction of the ray. Axes: S scenes, R rays, N samples.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def opacity(o: Float[Tensor, "S R"]) -> Float[Tensor, "S"]:
    """Emptiness: sqrt(o^2 + 0.01). DreamFusion, arXiv 2209.14988, appendix A.2."""
    return torch.sqrt(o.square() + 0.01).mean(dim=-1)


def entropy(o: Float[Tensor, "S R"]) -> Float[Tensor, "S"]:
    """Opacity that is neither 0 nor 1: -o log2 o - (1 - o) log2 (1 - o).

    InfoNeRF's ray entropy (arXiv 2112.15399) in the binary form that stable-dreamfusion uses.
    """
    # The bounds keep the logarithms and their gradients finite.
    o = o.clamp(1e-4, 1.0 - 1e-4)
    return -(o * o.log2() + (1.0 - o) * (1.0 - o).log2()).mean(dim=-1)


def distortion(
    weights: Float[Tensor, "S R N"],
    distance: Float[Tensor, "S R N"],
    delta: Float[Tensor, "S R N"],
) -> Float[Tensor, "S"]:
    """Matter strewn along a ray: sum_ij w_i w_j |t_i - t_j| + 1/3 sum_i w_i^2 delta_i.

    mip-NeRF 360, arXiv 2111.12077, eq. 15, in scene units. Samples lie from near to far.
    """
    # By symmetry twice the sum over j < i, in which |t_i - t_j| = t_i - t_j.
    before = F.pad(weights[..., :-1].cumsum(dim=-1), (1, 0))
    moment = F.pad((weights * distance)[..., :-1].cumsum(dim=-1), (1, 0))
    pairs = 2.0 * (weights * (distance * before - moment)).sum(dim=-1)
    own = (weights.square() * delta).sum(dim=-1) / 3.0
    return (pairs + own).mean(dim=-1)


def orientation(
    weights: Float[Tensor, "S R N"],
    normal: Float[Tensor, "S R N 3"],
    directions: Float[Tensor, "S R 3"],
) -> Float[Tensor, "S"]:
    """Visible surfaces that face away: sum stopgrad(w) max(0, n . d)^2.

    Ref-NeRF, arXiv 2112.03907, eq. 11.
    """
    facing = (normal * directions[..., None, :]).sum(-1).clamp(min=0.0)
    return (weights.detach() * facing.square()).sum(-1).mean(dim=-1)
