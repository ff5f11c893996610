"""Distributed Shampoo (Anil et al., arXiv 2002.09018) in Adam's place, from a kept library.

The library is pytorch-optimizer (Apache-2.0), whose `ScalableShampoo` follows the authors' own
code; only this study needs it. DreamFusion's settings (appendix A.2): b1 = b2 = .9, the inverse
square root of either side's statistics (exponent override 2), blocks of 128, the length of a step
grafted to SQRT_N, that is lr sqrt(N) for a matrix of N entries, epsilon 1e-6. What it does not
state is as in the authors' code: momentum is a sum of steps, not their mean, and Nesterov's. A sum
goes 1 / (1 - b1) = 10 times as far as Adam's mean under the same rate.

The authors' code takes new roots every step by default; here it is every `every` steps, the first
time at step `every`, and until then a step is the sign of the gradient.

Axes: S scenes.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engine.configs.optimiser import OptimiserConfig
from engine.fields import Parameters

_BLOCK = 128
_EPS = 1e-6
_ROOT = 2


def library() -> Any:
    """The library. Raises ValueError where it is not installed."""
    try:
        return import_module("pytorch_optimizer")
    except ModuleNotFoundError as error:
        raise ValueError(
            "Shampoo: expected the package pytorch-optimizer, which is not installed; "
            "pip install pytorch-optimizer, or leave Shampoo out by --only"
        ) from error


def layers(p: Float[Tensor, "*layers I O"]) -> list[Float[Tensor, "..."]]:
    """A scene's parameter as the matrices of its layers, views of it all.

    Rows (biases, gains) come as one vector: the library steps by the signs of a vector's gradient,
    alone or joined.
    """
    if p.shape[-2] == 1:
        return [p.view(-1)]
    return list(p.view(-1, *p.shape[-2:]).unbind())


class Shampoo:
    """One optimiser of the library a scene, so that no scene knows of another."""

    def __init__(self, config: OptimiserConfig, every: int) -> None:
        """`config` says the betas. Raises ValueError where the library is missing."""
        self._library = library()
        self._config, self._every = config, every
        self._scenes: dict[int, torch.optim.Optimizer | None] = {}

    def admit(self, slot: int) -> None:
        """See `engine.optimiser.Optimiser`."""
        self._scenes[slot] = None

    def step(
        self,
        parameters: Parameters,
        gradients: Parameters,
        *,
        lr: Float[Tensor, "S"],
        is_active: Bool[Tensor, "S"],
    ) -> None:
        """See `engine.optimiser.Optimiser`. A scene that has failed drifts on, by its momentum."""
        for slot, optimiser in self._scenes.items():
            if optimiser is None:
                optimiser = self._scenes[slot] = self._made(parameters, slot)
            (group,) = optimiser.param_groups
            # On the device: nothing is waited for.
            group["lr"] = lr[slot]
            found = [g for n in parameters for g in layers(gradients[n][slot].contiguous())]
            for leaf, gradient in zip(group["params"], found, strict=True):
                leaf.grad = torch.where(is_active[slot], gradient, 0.0)
            optimiser.step()

    def _made(self, parameters: Mapping[str, Tensor], slot: int) -> torch.optim.Optimizer:
        """That of a scene that begins; it writes to the very buffers."""
        leaves = [layer for p in parameters.values() for layer in layers(p[slot])]
        return self._library.ScalableShampoo(
            [torch.nn.Parameter(leaf) for leaf in leaves],
            betas=self._config.betas,
            # Momentum sums steps with the rate of their time, for which the rate may be a tensor.
            decoupled_learning_rate=False,
            moving_average_for_momentum=False,
            nesterov=True,
            inverse_exponent_override=_ROOT,
            start_preconditioning_step=self._every,
            preconditioning_compute_steps=self._every,
            block_size=_BLOCK,
            # They are matrices already.
            shape_interpretation=False,
            graft_type=self._library.optimizer.utils.graft.LayerWiseGrafting.SQRTN,
            diagonal_eps=_EPS,
            matrix_eps=_EPS,
        )
