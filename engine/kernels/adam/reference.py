"""`engine.kernels.adam` in plain torch."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def adam(
    p: Float[Tensor, "S ..."],
    gradient: Float[Tensor, "S ..."],
    first: Float[Tensor, "S ..."],
    second: Float[Tensor, "S ..."],
    rate: Float[Tensor, "S"],
    correction: Float[Tensor, "S"],
    is_active: Bool[Tensor, "S"],
    *,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """See the package."""
    beta1, beta2 = betas
    shape = (-1, *[1] * (p.dim() - 1))
    # An idle or broken scene may carry a gradient that is not a number.
    gradient = torch.where(is_active.view(shape), gradient, 0.0)
    first.lerp_(gradient, 1.0 - beta1)
    second.lerp_(gradient.square(), 1.0 - beta2)
    scale = second.sqrt().div_(correction.view(shape)).add_(eps)
    p.sub_(first.div(scale).mul_(rate.view(shape)))
