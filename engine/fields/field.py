"""What every field offers: density and albedo at points, for S scenes at once.

A field holds no parameters. They are a dictionary of tensors with a leading scene axis, so that
scenes can be stacked, stepped together, and taken out one by one.

x       points in [-1, 1]^3                     S P 3
raw     density before its activation           S P
sigma   density per scene unit                  S P
albedo  reflected part of the light, in [0, 1]  S P 3
normal  -grad sigma / |grad sigma|, outward     S P 3
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

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

    def initial(self, seed: Int[Tensor, "S"]) -> Parameters:
        """Fresh parameters for scenes with these seeds."""
        ...

    def density(self, parameters: Parameters, x: Float[Tensor, "S P 3"]) -> Float[Tensor, "S P"]:
        """Density alone."""
        ...

    def query(
        self, parameters: Parameters, x: Float[Tensor, "S P 3"], *, with_normal: bool
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


def outward(gradient: Float[Tensor, "*p 3"]) -> Float[Tensor, "*p 3"]:
    """Unit normals against the gradient of density; 0 where density is flat."""
    return -gradient / torch.sqrt(gradient.square().sum(-1, keepdim=True) + 1e-12)
