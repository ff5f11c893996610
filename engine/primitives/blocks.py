"""The solids that stand together: their distances and how much room they take.

Legend: a block stands around the origin of its frame, upright on Z and even in X and Y; y and z say
where its centre lies on another origin's YZ plane. Lengths are "B 1", one an object.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from engine.primitives.shape import Proportions
from engine.primitives.solids import Distance, Points, box, cone, cylinder, sphere, torus

Length = Float[Tensor, "B 1"]


class Block(ABC):
    """A solid of given proportions."""

    half_width: Tensor
    """Half its extent along Y."""
    half_height: Tensor

    @abstractmethod
    def distance(self, p: Points) -> Distance:
        """Signed distance of points."""

    @abstractmethod
    def reach(self, y: Length, z: Length) -> Length:
        """Distance from the origin to its farthest point, its centre being at (0, y, z)."""


class Cube(Block):
    """Block of half size u_0, edges slightly rounded."""

    def __init__(self, u: Proportions) -> None:
        self.half_width = self.half_height = u(0, 0.38, 0.47)

    def distance(self, p: Points) -> Distance:
        half = self.half_width
        return box(p, half, half, half, 0.02)

    def reach(self, y: Length, z: Length) -> Length:
        half = self.half_width
        return (half.square() + (y.abs() + half).square() + (z.abs() + half).square()).sqrt()


class Ball(Block):
    """Block of radius u_0."""

    def __init__(self, u: Proportions) -> None:
        self.half_width = self.half_height = u(0, 0.52, 0.72)

    def distance(self, p: Points) -> Distance:
        return sphere(p, self.half_width)

    def reach(self, y: Length, z: Length) -> Length:
        return torch.hypot(y, z) + self.half_width


class Cylinder(Block):
    """Upright block of radius u_0 and half height u_1."""

    def __init__(self, u: Proportions) -> None:
        self.half_width, self.half_height = u(0, 0.3, 0.48), u(1, 0.42, 0.62)

    def distance(self, p: Points) -> Distance:
        return cylinder(p, self.half_width, self.half_height)

    def reach(self, y: Length, z: Length) -> Length:
        return torch.hypot(y.abs() + self.half_width, z.abs() + self.half_height)


class Cone(Block):
    """Upright block of radius u_0 at its foot and half height u_1, ending in a point."""

    def __init__(self, u: Proportions) -> None:
        self.half_width, self.half_height = u(0, 0.4, 0.54), u(1, 0.5, 0.62)

    def distance(self, p: Points) -> Distance:
        return cone(p, self.half_width, 0.0, self.half_height)

    def reach(self, y: Length, z: Length) -> Length:
        foot = torch.hypot(y.abs() + self.half_width, z - self.half_height)
        return torch.maximum(foot, torch.hypot(y, z + self.half_height))


class Torus(Block):
    """Lying ring: radius u_0 to the middle of a tube of radius u_1."""

    def __init__(self, u: Proportions) -> None:
        self.ring, self.half_height = u(0, 0.42, 0.54), u(1, 0.15, 0.24)
        self.half_width = self.ring + self.half_height

    def distance(self, p: Points) -> Distance:
        return torus(p, self.ring, self.half_height)

    def reach(self, y: Length, z: Length) -> Length:
        return torch.hypot(y.abs() + self.ring, z) + self.half_height


BLOCKS: dict[str, Callable[[Proportions], Block]] = {
    "cube": Cube,
    "ball": Ball,
    "cylinder": Cylinder,
    "cone": Cone,
    "torus": Torus,
}
