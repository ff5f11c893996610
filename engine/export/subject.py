"""What the export asks of a scene; `engine.scene.Scene` is the one it is made for.

A scene answers everywhere in the cube [-bound, bound]^3, but the optimisation may look only into
the ball |x| <= radius: what a field holds in the corners is accident. The export reads it as empty.
A scene is asked about at most `POINTS_AT_ONCE` points (see `pieces`), which bounds the memory that
a field takes for its features, and never about none.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from engine.export import pieces

POINTS_AT_ONCE = 2**18


@runtime_checkable
class Subject(Protocol):
    """A frozen field of density and albedo in the cube [-bound, bound]^3."""

    @property
    def bound(self) -> float:
        """Half the side of the cube."""
        ...

    @property
    def radius(self) -> float:
        """Radius of the ball that holds everything."""
        ...

    @property
    def device(self) -> torch.device:
        """Where points are expected and answers lie."""
        ...

    def density(self, x: Float[Tensor, "P 3"]) -> Float[Tensor, "P"]:
        """Density at points of the world, per scene unit."""
        ...

    def albedo(self, x: Float[Tensor, "P 3"]) -> Float[Tensor, "P 3"]:
        """Display-referred (sRGB) albedo in [0, 1] at points of the world."""
        ...

    def to_bytes(self) -> bytes:
        """The field, serialised."""
        ...


def density_at(scene: Subject, x: Float[Tensor, "*p 3"]) -> Float[Tensor, "*p"]:
    """Density at points anywhere, in single precision; 0 outside the ball and the cube."""
    if x.numel() == 0:
        return x.new_zeros(x.shape[:-1])
    flat = x.reshape(-1, 3)
    inside_cube = flat.clamp(-scene.bound, scene.bound)
    parts = inside_cube.split(pieces.size(POINTS_AT_ONCE, x.device))
    sigma = torch.cat([scene.density(some).float() for some in parts])
    in_cube = flat.abs().amax(dim=-1) <= scene.bound
    is_inside = in_cube & (flat.square().sum(dim=-1) <= scene.radius**2)
    return torch.where(is_inside, sigma, 0.0).reshape(x.shape[:-1])


def albedo_at(scene: Subject, x: Float[Tensor, "*p 3"]) -> Float[Tensor, "*p 3"]:
    """Albedo at points anywhere, in single precision; beyond the cube that of the nearest point."""
    if x.numel() == 0:
        return x.new_zeros(x.shape)
    flat = x.reshape(-1, 3).clamp(-scene.bound, scene.bound)
    parts = flat.split(pieces.size(POINTS_AT_ONCE, x.device))
    albedo = torch.cat([scene.albedo(some).float() for some in parts])
    return albedo.reshape(x.shape)
