"""The mesh's surface, seen from outside: where a ray meets it, whatever else is as dense.

The surface is where the density crosses a level around the cells of the mesh's solid. What is above
the level elsewhere, an island that the mesh drops, has none. Axes as in `engine.export.march`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import max_pool3d

from engine.export.crossing import crossing
from engine.export.lattice import Lattice
from engine.export.segments import Segments
from engine.export.solid import Solid
from engine.export.subject import Subject


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Of a solid in the cube [-bound, bound]^3."""

    level: float
    """Density of the surface."""
    cells: Bool[Tensor, "n n n"]
    """The cells of the solid and their 26 neighbours, in which all of the surface lies."""
    bound: float

    @classmethod
    def of(cls, solid: Solid, lattice: Lattice) -> "Surface":
        """Of a solid that was found in this lattice."""
        inside = torch.from_numpy(solid.inside).to(lattice.density.device)
        grown = max_pool3d(inside.float()[None, None], kernel_size=3, stride=1, padding=1)[0, 0]
        return cls(level=solid.level, cells=grown > 0, bound=lattice.bound)

    def distance(
        self,
        scene: Subject,
        segments: Segments,
        distance: Float[Tensor, "R N"],
        sigma: Float[Tensor, "R N"],
    ) -> Float[Tensor, "R"]:
        """Distance at which each ray first enters what is below the surface; inf if it never does.

        `sigma` are the densities at `distance`, which holds the segments' own. The place is
        bisected between the first sample below and the one before it.
        """
        below = sigma > self.level
        picks = below.nonzero(as_tuple=True)
        below[picks] = self._is_near(segments.points(distance, picks))
        ray = below.any(dim=-1).nonzero()[:, 0]
        far = distance[ray, below[ray].long().argmax(dim=-1)]
        near = far - segments.delta[ray]
        share = crossing(scene, segments.at(near, ray), segments.at(far, ray), self.level)
        found = torch.full_like(segments.near, torch.inf)
        found[ray] = torch.lerp(near, far, share)
        return found

    def _is_near(self, x: Float[Tensor, "K 3"]) -> Bool[Tensor, "K"]:
        """Whether points lie in the solid's cells or next to them."""
        size = self.cells.shape[0]
        cell = ((x + self.bound) * (size / (2.0 * self.bound))).long().clamp_(0, size - 1)
        return self.cells[tuple(cell.T)]
