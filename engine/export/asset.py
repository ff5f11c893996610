"""What the export of a scene yields: plain bytes and numbers, ready for a row of the dataset.

Cameras are OpenGL camera-to-world (X right, Y up, -Z forward), pixel centres at +0.5; lengths are
in scene units, angles in degrees where the name says so. This file loads no torch.
"""

from dataclasses import dataclass
from typing import Literal

MESH_STATISTICS: dict[str, type[int] | type[float] | type[bool]] = {
    "mesh_vertices": int,
    "mesh_faces": int,
    "mesh_components": int,
    "mesh_watertight": bool,
    "mesh_volume": float,
    "mesh_area": float,
    "mesh_level": float,
    "bbox_min_x": float,
    "bbox_min_y": float,
    "bbox_min_z": float,
    "bbox_max_x": float,
    "bbox_max_y": float,
    "bbox_max_z": float,
}
"""Names and types of `Asset.mesh`, which always has them all; NaN where an empty mesh has none."""


@dataclass(frozen=True, kw_only=True)
class View:
    """One posed picture of an asset, with its depth and its normals."""

    name: str
    image: bytes
    """PNG, RGBA of 8 bits: albedo with straight alpha; alpha is opacity."""
    depth: bytes
    """PNG, 16 bits: z-depth of the mesh's surface, or of the median where half of the light is gone
    before it; scene units = value x `depth_scale`; 0 where alpha < .5."""
    normal: bytes
    """PNG, RGB of 8 bits: world-space normal n as (n + 1) / 2; grey where alpha < .5."""
    c2w: list[float]
    """Camera-to-world transform, 4 x 4, row-major."""
    fl_x: float
    fl_y: float
    cx: float
    cy: float
    w: int
    h: int
    depth_scale: float
    azimuth_deg: float
    elevation_deg: float
    radius: float


@dataclass(frozen=True, kw_only=True)
class Asset:
    """Everything that is kept of a finished scene."""

    views: list[View]
    mesh_glb: bytes | None
    """Binary glTF 2.0; None where the mesh is empty."""
    mesh_status: Literal["ok", "empty"]
    turntable: bytes
    """Animated WebP on white, one turn, endless."""
    thumb: bytes
    """PNG on white, three quarters from the front."""
    field: bytes
    """The scene itself, as `Scene.to_bytes` writes it."""
    mesh: dict[str, float | int | bool]
    """Statistics of the mesh in world coordinates; the keys of `MESH_STATISTICS`."""
