"""The posed views of an asset: a ring of cameras around the object.

Camera k stands at azimuth k 360 / num_views (0 is the front, counter-clockwise from above), all at
one elevation and radius, looking at the origin. Nothing is random.
"""

import math

import torch

from engine.cameras import Cameras, orbit
from engine.configs.export import ExportConfig
from engine.export.asset import View
from engine.export.images import depth_png, depth_scale, normal_png, rgba_png
from engine.export.lattice import sample
from engine.export.march import Rendering, render
from engine.export.occupancy import Occupancy, occupied
from engine.export.subject import Subject


def ring(num: int, size: int, config: ExportConfig) -> Cameras:
    """`num` cameras with pictures of `size` pixels at azimuth k 360 / num.

    In double precision, so that the poses written beside the pictures are exact.
    """
    return cameras_at(
        [k * 360.0 / num for k in range(num)], config.view_elevation_deg, size, config
    )


def cameras_at(
    azimuths_deg: list[float], elevation_deg: float, size: int, config: ExportConfig
) -> Cameras:
    """Cameras at some azimuths with the radius and the field of view of the config."""
    azimuth = torch.tensor(azimuths_deg, dtype=torch.float64)
    return orbit(
        azimuth,
        torch.full_like(azimuth, elevation_deg),
        torch.full_like(azimuth, config.view_radius),
        torch.full_like(azimuth, config.view_fov_deg),
        size,
    )


def render_views(
    scene: Subject, config: ExportConfig, *, occupancy: Occupancy | None = None
) -> list[View]:
    """Albedo, depth and normals from `num_views` sides.

    `occupancy` spares sampling the density again where a lattice of it is at hand.
    """
    if occupancy is None:
        occupancy = occupied(sample(scene, config.grid_size))
    cameras = ring(config.num_views, config.view_size, config)
    pictures = render(scene, occupancy, cameras, config.view_samples)
    scale = depth_scale(config.view_radius + math.sqrt(3.0) * scene.bound)
    return [_view(k, cameras, pictures, scale, config) for k in range(config.num_views)]


def _view(
    k: int, cameras: Cameras, pictures: Rendering, scale: float, config: ExportConfig
) -> View:
    focal = float(cameras.focal[k])
    return View(
        name=f"view_{k:02d}",
        image=rgba_png(pictures.albedo[k], pictures.alpha[k]),
        depth=depth_png(pictures.depth[k], scale),
        # A normal is given where a depth is: haze around a surface has neither.
        normal=normal_png(pictures.normal[k] * (pictures.depth[k] > 0)[..., None]),
        c2w=cameras.c2w[k].flatten().tolist(),
        fl_x=focal,
        fl_y=focal,
        cx=0.5 * cameras.size,
        cy=0.5 * cameras.size,
        w=cameras.size,
        h=cameras.size,
        depth_scale=scale,
        azimuth_deg=k * 360.0 / config.num_views,
        elevation_deg=config.view_elevation_deg,
        radius=config.view_radius,
    )
