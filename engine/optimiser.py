"""Adam over stacked scenes: every scene has its own step count, rate and switch.

Kingma and Ba, arXiv 1412.6980, algorithm 1. Axes: S scenes, leading in every tensor.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.fields.field import Parameters


@dataclass(frozen=True)
class Moments:
    """Running means of gradients and of their squares, shaped as the parameters."""

    first: Parameters
    second: Parameters

    @classmethod
    def zeros_like(cls, parameters: Parameters) -> "Moments":
        """Moments before the first step."""
        return cls(
            {name: torch.zeros_like(p) for name, p in parameters.items()},
            {name: torch.zeros_like(p) for name, p in parameters.items()},
        )


def adam_step(
    parameters: Parameters,
    gradients: Parameters,
    moments: Moments,
    *,
    count: Int[Tensor, "S"],
    lr: Float[Tensor, "S"],
    is_active: Bool[Tensor, "S"],
    betas: tuple[float, float],
    eps: float,
) -> None:
    """One step in place: p -= lr m_hat / (sqrt(v_hat) + eps), for active scenes only.

    `count` is the number of the step, from 1.
    """
    beta1, beta2 = betas
    correction1 = 1.0 - beta1 ** count.float()
    correction2 = torch.sqrt(1.0 - beta2 ** count.float())
    rate = torch.where(is_active, lr / correction1, 0.0)
    for name, p in parameters.items():
        shape = (-1, *[1] * (p.dim() - 1))
        # An idle or broken scene may carry a gradient that is not a number.
        gradient = torch.where(is_active.view(shape), gradients[name], 0.0)
        first, second = moments.first[name], moments.second[name]
        first.lerp_(gradient, 1.0 - beta1)
        second.lerp_(gradient.square(), 1.0 - beta2)
        scale = second.sqrt().div_(correction2.view(shape)).add_(eps)
        p.sub_(first.div(scale).mul_(rate.view(shape)))
