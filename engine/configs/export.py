"""What an asset contains. Conventions as in `engine.recipe`."""

from dataclasses import dataclass

from engine.configs.common import check


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """What an asset contains."""

    num_views: int = 8
    """Cameras on a ring, at azimuth k 360 / num_views."""
    view_size: int = 128
    view_elevation_deg: float = 20.0
    view_radius: float = 2.4
    view_fov_deg: float = 45.0
    view_samples: int = 192
    grid_size: int = 96
    """Lattice points per side from which the mesh is drawn."""
    density_level: float = 10.0
    """Density of the mesh's surface, per scene unit."""
    max_faces: int = 20_000
    turntable_frames: int = 24
    turntable_size: int = 96

    def __post_init__(self) -> None:
        check(self.num_views >= 4 and self.num_views % 4 == 0, self, "a multiple of 4 views")
        check(self.view_size >= 8 and self.grid_size >= 8, self, "sizes of 8 or more")
        check(self.density_level > 0, self, "a density_level above 0")
