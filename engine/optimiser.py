"""Adam over stacked scenes: every scene has its own step count, rate and switch; or another.

Kingma and Ba, arXiv 1412.6980, algorithm 1. Axes: S scenes, leading in every tensor.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine import background
from engine.configs.optimiser import OptimiserConfig
from engine.fields.field import Parameters
from engine.kernels.adam import adam


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


@runtime_checkable  # for the checks of types in tests
class Optimiser(Protocol):
    """What may take Adam's place in a gang; it keeps its own state, scene by scene."""

    def admit(self, slot: int) -> None:
        """The slot has another scene, which begins."""
        ...

    def step(
        self,
        parameters: Parameters,
        gradients: Parameters,
        *,
        lr: Float[Tensor, "S"],
        is_active: Bool[Tensor, "S"],
    ) -> None:
        """One step in place, for active scenes; the parameters are the same buffers every time."""
        ...


def learning_rate(config: OptimiserConfig, part: Float[Tensor, "S"]) -> Float[Tensor, "S"]:
    """The rate after `part` of the run: a linear warm-up, then half a cosine from first to last."""
    first, last = config.lr
    after = (part - config.warmup).clamp(min=0.0) / (1.0 - config.warmup)
    cosine = last + 0.5 * (first - last) * (1.0 + torch.cos(torch.pi * after))
    if config.warmup == 0.0:
        return cosine
    rising = config.warmup_lr + (first - config.warmup_lr) * part / config.warmup
    return torch.where(part < config.warmup, rising, cosine)


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
    background_rate: float = 1.0,
) -> None:
    """One step in place: p -= lr m_hat / (sqrt(v_hat) + eps), for active scenes only.

    `count` is the number of the step, from 1; `background_rate` a factor on the background's lr.
    """
    beta1, beta2 = betas
    correction1 = 1.0 - beta1 ** count.float()
    correction2 = torch.sqrt(1.0 - beta2 ** count.float())
    rate = torch.where(is_active, lr / correction1, 0.0)
    for name, p in parameters.items():
        own_rate = rate * background_rate if name.startswith(background.PREFIX) else rate
        adam(
            p,
            gradients[name],
            moments.first[name],
            moments.second[name],
            own_rate,
            correction2,
            is_active,
            betas=betas,
            eps=eps,
        )
