"""Regularisers, each a mean over a scene's rays (or cells), before its weight.

w weights of samples along a ray, o = sum w opacity of a ray, n outward normal, d direction of the
ray. Axes: S scenes, R rays, N samples.
"""

import torch
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
