"""Fields: how density and albedo are stored. Conventions as in `engine.recipe`."""

from dataclasses import dataclass
from typing import Literal

from engine.configs.common import check


@dataclass(frozen=True, kw_only=True)
class DenseGridConfig:
    """Density and albedo on a sum of dense lattices, read by trilinear interpolation."""

    kind: Literal["dense_grid"] = "dense_grid"
    resolutions: tuple[int, ...] = (16, 64)
    """Lattice points per side, coarse to fine."""
    density_gain: float = 10.0
    """Factor on raw density; with Adam it sets how much faster density moves than colour."""
    blob_density: float = 10.0
    """Peak of the initial density blob, per scene unit (Magic3D's form, arXiv 2211.10440)."""
    blob_radius: float = 0.5
    """Distance from the origin at which the blob's bias reaches zero."""

    def __post_init__(self) -> None:
        check(all(n >= 2 for n in self.resolutions), self, "at least 2 lattice points per side")


@dataclass(frozen=True, kw_only=True)
class HashGridConfig:
    """Multiresolution hash encoding and a small MLP (Instant NGP, arXiv 2201.05989)."""

    kind: Literal["hash_grid"] = "hash_grid"
    num_levels: int = 12
    features: int = 2
    """Features an entry."""
    log2_size: int = 16
    """log2 of the entries a level."""
    base_resolution: int = 8
    finest_resolution: int = 256
    hidden: int = 64
    """Width of the MLP's single hidden layer."""
    blob_density: float = 10.0
    blob_radius: float = 0.5

    def __post_init__(self) -> None:
        check(self.num_levels >= 2, self, "num_levels of 2 or more")
        check(
            self.base_resolution < self.finest_resolution, self, "base_resolution below the finest"
        )


FieldConfig = DenseGridConfig | HashGridConfig
