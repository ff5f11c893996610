"""True shapes as surfaces: distances to them, and points on them evenly by area.

A thin shell around a surface has volume area x thickness. So points are drawn evenly from space,
kept where they lie in the shell, and moved onto the surface. Only the shell outside is used, since
inside of a thin part there is no room for one. Most of space is far from any surface: first the
middles of `_CELLS`^3 cells are asked, then points are drawn from the cells that may meet the shell.

Axes: B shapes of one geometry, P points of each, C cells, K proportions. Scene units.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from engine.primitives.grammar import Geometry
from engine.primitives.kinds import slots
from engine.primitives.shape import BOUND
from engine.primitives.solids import points, union

SHELL = 0.02
"""Thickness of the shell."""

_CELLS = 40
_DRAWS = 6
"""Points drawn for each one wanted; a fifth or more of them are in the shell."""
_NEWTON_STEPS = 3
_LEAST_SLOPE = 0.2
_SHAPES_AT_ONCE = {"cuda": 64, "cpu": 4}


@dataclass(frozen=True)
class TrueShapes:
    """Shapes of one geometry."""

    geometry: Geometry
    proportions: Float[Tensor, "B K"]

    def to_surface(
        self, x: Float[Tensor, "B P 3"]
    ) -> tuple[Float[Tensor, "B P"], Float[Tensor, "B P 3"]]:
        """Signed distance to each shape, and the unit direction in which it grows.

        A kind's distance function may understate the distance, by the factor by which its gradient
        is short of 1; to first order, dividing by the gradient's length mends that.
        """
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            gap = union(*slots(self.geometry, points(x), self.proportions))
            (gradient,) = torch.autograd.grad(gap.sum(), x)
        slope = gradient.norm(dim=-1).clamp_min(_LEAST_SLOPE)
        return gap.detach() / slope, gradient / slope[..., None]

    def sample(self, count: int, seed: int) -> Float[Tensor, "B P 3"]:
        """`count` points on each surface, even by area."""
        some = self.proportions.split(_SHAPES_AT_ONCE.get(self.proportions.device.type, 4))
        return torch.cat([TrueShapes(self.geometry, u)._sample(count, seed) for u in some])

    def _sample(self, count: int, seed: int) -> Float[Tensor, "B P 3"]:
        x = self._draw(_DRAWS * count, seed)
        distance, _ = self.to_surface(x)
        is_in_shell = (distance > 0.0) & (distance < SHELL)
        # Where fewer are in the shell than are wanted, some serve twice.
        number = torch.arange(count, device=x.device) % is_in_shell.sum(1, keepdim=True).clamp_min(
            1
        )
        chosen = _true_first(is_in_shell).gather(1, number)
        x = x.gather(1, chosen[..., None].expand(-1, -1, 3))
        for _ in range(_NEWTON_STEPS):
            distance, direction = self.to_surface(x)
            x = x - distance[..., None] * direction
        return x

    def _draw(self, count: int, seed: int) -> Float[Tensor, "B P 3"]:
        """Points drawn evenly from the cells that may meet the shell."""
        device, side = self.proportions.device, 2.0 * (BOUND + SHELL) / _CELLS
        axis = (torch.arange(_CELLS, device=device) + 0.5) * side - (BOUND + SHELL)
        middle = torch.cartesian_prod(axis, axis, axis)
        shapes = len(self.proportions)
        gap = union(*slots(self.geometry, points(middle.expand(shapes, -1, -1)), self.proportions))
        reach = 0.5 * math.sqrt(3.0) * side
        is_near = (gap > -reach) & (gap < SHELL + reach)
        # Drawn on the CPU, so that the numbers are the same on every device.
        u = torch.rand(4, count, generator=torch.Generator().manual_seed(seed)).to(device)
        number = (u[0] * is_near.sum(1, keepdim=True)).long()
        cell = _true_first(is_near).gather(1, number)
        return middle[cell] + (u[1:].T - 0.5) * side


def _true_first(values: Tensor) -> Tensor:
    """Per row the places of what is true, in their order, then of the rest."""
    return (~values).long().argsort(dim=1, stable=True)
