"""What a kind's distance function is given and gives."""

import torch
from jaxtyping import Float
from torch import Tensor

from engine.primitives.solids import Points

BOUND = 0.84
"""Radius of the sphere around the origin that holds every object."""

Slots = tuple[Tensor, ...]
"""Distances "B P" to the pieces of each colour slot, in the order of the geometry's colours."""


class Proportions:
    """A batch of proportion vectors u in [0, 1]^K, read as lengths between two bounds."""

    def __init__(self, u: Float[Tensor, "B K"]) -> None:
        self._u = u

    def __call__(self, index: int, low: float, high: float) -> Float[Tensor, "B 1"]:
        """Length number `index`: low + u (high - low), one per object."""
        return low + (high - low) * self._u[:, index : index + 1]


def quarters(p: Points) -> Points:
    """Folded to the wedge |y| <= x: one fin at +x becomes four."""
    ax, ay = p.x.abs(), p.y.abs()
    return Points(torch.maximum(ax, ay), torch.minimum(ax, ay), p.z)
