"""The march: how samples are placed along a ray. Conventions as in `engine.recipe`."""

from dataclasses import dataclass
from typing import Literal

from engine.configs.common import check

Region = Literal["sphere", "cube"]
"""Outside of it space is empty: the ball |x| <= bound of the field, or its whole cube."""


@dataclass(frozen=True, kw_only=True)
class MarchConfig:
    """How samples are placed along a ray."""

    region: Region = "sphere"
    num_samples: int = 32
    """Samples a ray, always; they share the occupied part of the ray among themselves."""
    num_bins: int = 64
    """Equal stretches of the ray between which occupancy is told apart."""
    grid_size: int = 32
    """Cells per side of the occupancy grid."""
    density_floor: float = 0.5
    """Density under which a cell counts as empty."""
    refresh: int = 16
    """Steps within which every cell of the occupancy grid is measured again."""

    def __post_init__(self) -> None:
        check(self.region in ("sphere", "cube"), self, "region to be sphere or cube")
        check(self.num_samples >= 1 and self.num_bins >= 1, self, "at least one sample and bin")
        check(self.grid_size >= 2 and self.grid_size % 2 == 0, self, "an even grid_size")
        check(self.refresh >= 1, self, "refresh of 1 or more")
        check(self.grid_size**3 % self.refresh == 0, self, "refresh that divides grid_size^3")
