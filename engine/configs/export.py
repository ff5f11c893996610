"""What an asset contains. Conventions as in `engine.recipe`."""

from dataclasses import dataclass
from typing import Literal

from engine.configs.common import check

TextureFormat = Literal["png", "webp"]
"""PNG is read by everything; WebP (EXT_texture_webp) is smaller and loses a little."""


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """What an asset contains."""

    cameras: Literal["ring", "sphere"] = "ring"
    """`ring`: at azimuth k 360 / num_views, all at `view_elevation_deg`. `sphere`: even over the
    whole sphere, from above and below, too."""
    num_views: int = 8
    view_size: int = 128
    view_elevation_deg: float = 20.0
    view_radius: float = 2.4
    """Distance of the cameras from the origin; more where the ball around the mesh does not fit."""
    view_fov_deg: float = 45.0
    view_samples: int = 192
    grid_size: int = 96
    """Lattice points per side from which the mesh is drawn."""
    density_level: float = 10.0
    """Density of the mesh's surface, per scene unit."""
    smoothing: int = 3
    """Rounds that take the lattice's steps out of the mesh and keep its volume."""
    max_faces: int = 20_000
    texture_size: int = 1024
    """Side of the mesh's texture in texels; 0: colours at the vertices instead."""
    texture_format: TextureFormat = "png"
    turntable_frames: int = 24
    turntable_size: int = 96

    def __post_init__(self) -> None:
        check(self.cameras in ("ring", "sphere"), self, "cameras to be ring or sphere")
        check(self.num_views >= 4, self, "4 views or more")
        check(self.cameras != "ring" or self.num_views % 4 == 0, self, "a multiple of 4 views")
        check(self.view_size >= 8 and self.grid_size >= 8, self, "sizes of 8 or more")
        check(self.view_radius > 0, self, "a view_radius above 0")
        check(0 < self.view_fov_deg < 180, self, "view_fov_deg in (0, 180)")
        check(self.density_level > 0, self, "a density_level above 0")
        check(self.smoothing >= 0, self, "smoothing of 0 rounds or more")
        check(self.max_faces >= 100, self, "max_faces of 100 or more")
        is_size = self.texture_size == 0 or 16 <= self.texture_size <= 8192
        check(is_size, self, "a texture_size of 16 to 8192, or 0")
        check(self.texture_format in ("png", "webp"), self, "texture_format to be png or webp")
