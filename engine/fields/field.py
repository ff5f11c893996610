"""What every field offers: density and albedo at points, for S scenes at once.

A field holds no parameters. They are a dictionary of tensors with a leading scene axis, so that
scenes can be stacked, stepped together, and taken out one by one. The dictionary may hold others'
parameters too; a field looks up its own by name.

x       points in [-bound, bound]^3             S P 3
part    share of the run that is done           S
raw     density before its activation           S P
sigma   density per scene unit                  S P
albedo  reflected part of the light, in [0, 1]  S P 3
normal  -grad sigma / |grad sigma|, outward     S P 3
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.philox import Purpose, uniform

Parameters = dict[str, Tensor]


@dataclass(frozen=True)
class Samples:
    """A field's values at points."""

    sigma: Float[Tensor, "S P"]
    albedo: Float[Tensor, "S P 3"]
    normal: Float[Tensor, "S P 3"] | None
    """Only where it was asked for."""


@runtime_checkable
class Field(Protocol):
    """A family of scenes; the parameters choose one."""

    @property
    def bound(self) -> float:
        """Half the side of the cube that it fills; radius of the scene."""
        ...

    def initial(self, seed: Int[Tensor, "S"]) -> Parameters:
        """Fresh parameters for scenes with these seeds."""
        ...

    def density(
        self, parameters: Parameters, x: Float[Tensor, "S P 3"], part: Float[Tensor, "S"]
    ) -> Float[Tensor, "S P"]:
        """Density alone."""
        ...

    def query(
        self,
        parameters: Parameters,
        x: Float[Tensor, "S P 3"],
        part: Float[Tensor, "S"],
        *,
        with_normal: bool,
    ) -> Samples:
        """Density, albedo and, if asked for, normals."""
        ...

    def total_variation(self, parameters: Parameters) -> Float[Tensor, "S"]:
        """Roughness of the parameters, per scene; 0 where a field has no such notion."""
        ...


def blob(x: Float[Tensor, "*p 3"], density: float, radius: float) -> Float[Tensor, "*p"]:
    """Bias that starts a scene as a soft ball: density (1 - |x| / radius).

    Magic3D (arXiv 2211.10440, section 4). It is added before the activation.
    """
    # The small constant keeps the gradient finite at the origin.
    distance = torch.sqrt(x.square().sum(-1) + 1e-8)
    return density * (1.0 - distance / radius)


def gaussian_blob(x: Float[Tensor, "*p 3"], density: float, radius: float) -> Float[Tensor, "*p"]:
    """Bias that starts a scene as a soft ball: density exp(-|x|^2 / (2 radius^2)).

    DreamFusion (arXiv 2209.14988, appendix A.2). It is added before the activation.
    """
    return density * torch.exp(-0.5 * x.square().sum(-1) / radius**2)


GREATEST_RAW = 15.0
"""Of density, before the exponential: 3e6 after it."""


def bounded_exp(raw: Float[Tensor, "*p"]) -> Float[Tensor, "*p"]:
    """exp, but for raw density above the greatest, which then stays where it is."""
    return torch.exp(raw.clamp(max=GREATEST_RAW))


def outward(gradient: Float[Tensor, "*p 3"]) -> Float[Tensor, "*p 3"]:
    """Unit normals against the gradient of density; 0 where density is flat."""
    return -gradient / torch.sqrt(gradient.square().sum(-1, keepdim=True) + 1e-12)


def he_uniform(
    seed: Int[Tensor, "S"],
    index: int,
    shape: tuple[int, ...],
    purpose: Purpose = Purpose.INITIAL,
) -> Float[Tensor, "S ..."]:
    """Initial weights, U(-a, a) with a = sqrt(6 / inputs) (He et al., arXiv 1502.01852), for
    matrices whose last axes are inputs and outputs; a draw of its own for each index."""
    u = uniform(seed, torch.full_like(seed, index), purpose, shape)
    return (2.0 * u - 1.0) * math.sqrt(6.0 / shape[-2])
