"""Pieces of rays, cut into equal intervals that a sample each stands for.

Axes: R rays, N samples of a ray, K picked samples.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

Picks = tuple[Int[Tensor, "K"], ...]
"""Indices (ray, sample) of some samples, as `nonzero(as_tuple=True)` gives them."""


@dataclass(frozen=True, kw_only=True)
class Segments:
    """x = origin + distance direction, with N intervals of length delta from `near` on."""

    origins: Float[Tensor, "R 3"]
    directions: Float[Tensor, "R 3"]
    """Unit vectors."""
    near: Float[Tensor, "R"]
    delta: Float[Tensor, "R"]

    def distances(self, num_samples: int) -> Float[Tensor, "R N"]:
        """Distances of the intervals' centres: near + (i + .5) delta."""
        index = torch.arange(num_samples, device=self.near.device) + 0.5
        return self.near[:, None] + index * self.delta[:, None]

    def points(self, distance: Float[Tensor, "R N"], picks: Picks) -> Float[Tensor, "K 3"]:
        """Places of the picked samples."""
        return self.at(distance[picks], picks[0])

    def at(self, distance: Float[Tensor, "K"], ray: Int[Tensor, "K"]) -> Float[Tensor, "K 3"]:
        """Places at some distances along some rays."""
        return torch.addcmul(self.origins[ray], distance[:, None], self.directions[ray])
