"""Which part of space a ray need not visit.

A cell counts as occupied when it or one of its 26 neighbours holds a density above a floor. What
is thinner than a cell and surrounded by empty samples goes unseen. The least density among the same
27 bounds from below how much light a ray loses there, which tells when it need go no further.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import max_pool3d

from engine.export.lattice import Lattice
from engine.export.segments import Segments

DENSITY_FLOOR = 0.5
"""`MarchConfig.density_floor`: where a field stays below it, the optimisation looked no further, so
that haze may remain which no training picture ever showed."""
_LEAST_TRANSMITTANCE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Occupancy:
    """Occupied cells of a lattice and the box around them."""

    cells: Bool[Tensor, "n n n"]
    least: Float[Tensor, "n n n"]
    """Least density of a cell and its neighbours."""
    bound: float
    low: Float[Tensor, "3"]
    """Corner of the box around the occupied cells; equals `high` where there are none."""
    high: Float[Tensor, "3"]

    @property
    def scale(self) -> float:
        """Cells per scene unit."""
        return self.cells.shape[0] / (2.0 * self.bound)

    def visible(self, segments: Segments, distance: Float[Tensor, "R N"]) -> Bool[Tensor, "R N"]:
        """Samples in occupied cells that a share of `_LEAST_TRANSMITTANCE` of the light may reach.

        `distance` holds the segments' own, from near to far.
        """
        cell = self._cell(segments, distance)
        loss = self.least.flatten()[cell] * segments.delta[:, None]
        before = loss.cumsum(dim=-1) - loss
        return self.cells.flatten()[cell] & (before < -math.log(_LEAST_TRANSMITTANCE))

    def _cell(self, segments: Segments, distance: Float[Tensor, "R N"]) -> Int[Tensor, "R N"]:
        """Flat index of the cell that holds each sample."""
        size = self.cells.shape[0]
        # 32 bits, and one axis at a time: it is bound by the memory that it moves.
        flat = torch.zeros(distance.shape, dtype=torch.int32, device=distance.device)
        for axis in range(3):
            start = (segments.origins[:, None, axis] + self.bound) * self.scale
            slope = segments.directions[:, None, axis]
            place = torch.addcmul(start, distance, slope, value=self.scale)
            flat = flat.mul_(size).add_(place.clamp_(0, size - 1).int())
        return flat.long()

    def span(
        self, origins: Float[Tensor, "*r 3"], directions: Float[Tensor, "*r 3"]
    ) -> tuple[Float[Tensor, "*r"], Float[Tensor, "*r"]]:
        """Distances (near, far) at which rays enter and leave the box; far <= near is a miss.

        Slab method; a component of exactly zero divides to infinity of the right sign. A ray within
        the plane of a face misses, which is harmless: the cells along the faces are empty.
        """
        first = (self.low - origins) / directions
        second = (self.high - origins) / directions
        near = torch.minimum(first, second).amax(dim=-1).clamp_min(0.0)
        far = torch.maximum(first, second).amin(dim=-1)
        return near, far


def occupied(lattice: Lattice, floor: float = DENSITY_FLOOR) -> Occupancy:
    """Cells that hold a density above `floor`, grown by one cell on every side."""
    above = (lattice.density > floor).float()[None, None]
    cells = max_pool3d(above, kernel_size=3, stride=1, padding=1)[0, 0] > 0
    least = -max_pool3d(-lattice.density[None, None], kernel_size=3, stride=1, padding=1)[0, 0]
    corners = [_extent(cells.any(dim=a).any(dim=b)) for a, b in ((1, 1), (0, 1), (0, 0))]
    low, high = torch.tensor(corners, device=cells.device).T * lattice.spacing - lattice.bound
    return Occupancy(cells=cells, least=least, bound=lattice.bound, low=low, high=high)


def _extent(line: Bool[Tensor, "n"]) -> tuple[float, float]:
    """First occupied index and one past the last; (0, 0) where there is none."""
    index = line.nonzero()
    return (float(index.min()), float(index.max()) + 1.0) if len(index) else (0.0, 0.0)
