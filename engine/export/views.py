"""The posed views of an asset: cameras at one radius around the object, looking at the origin.

On a ring, camera k of n stands at azimuth k 360 / n (0 is the front, counter-clockwise from above),
all at one elevation. On the sphere they lie on a Fibonacci lattice: heights in equal steps from top
to bottom, each a golden section of the circle further round; so each has the same part of the
sphere to itself. Nothing is random.
"""

import math

import torch

from engine.cameras import Cameras, orbit
from engine.configs.export import ExportConfig
from engine.export import solid
from engine.export.asset import View
from engine.export.images import depth_png, depth_scale, normal_png, rgba_png
from engine.export.lattice import Lattice, sample
from engine.export.march import Rendering, render
from engine.export.occupancy import Occupancy, occupied
from engine.export.solid import Solid
from engine.export.subject import Subject
from engine.export.surface import Surface

_GOLDEN_DEG = 180.0 * (3.0 - math.sqrt(5.0))
_PIXELS_AT_ONCE = 2**20


def ring(num: int, size: int, config: ExportConfig) -> Cameras:
    """`num` cameras with pictures of `size` pixels at azimuth k 360 / num."""
    return cameras_at(*_ring(num, config), size, config)


def places(config: ExportConfig) -> tuple[list[float], list[float]]:
    """Azimuths in [0, 360) and elevations of the views, in degrees."""
    num = config.num_views
    if config.cameras == "ring":
        return _ring(num, config)
    heights = [1.0 - (2.0 * k + 1.0) / num for k in range(num)]
    azimuths = [k * _GOLDEN_DEG % 360.0 for k in range(num)]
    return azimuths, [math.degrees(math.asin(height)) for height in heights]


def _ring(num: int, config: ExportConfig) -> tuple[list[float], list[float]]:
    return [k * 360.0 / num for k in range(num)], [config.view_elevation_deg] * num


def cameras_at(
    azimuths_deg: list[float], elevations_deg: list[float], size: int, config: ExportConfig
) -> Cameras:
    """Cameras at some places with the radius and the field of view of the config.

    In double precision, so that the poses written beside the pictures are exact.
    """
    azimuth = torch.tensor(azimuths_deg, dtype=torch.float64)
    return orbit(
        azimuth,
        torch.tensor(elevations_deg, dtype=torch.float64),
        torch.full_like(azimuth, config.view_radius),
        torch.full_like(azimuth, config.view_fov_deg),
        size,
    )


def render_views(
    scene: Subject,
    config: ExportConfig,
    *,
    samples: Lattice | None = None,
    occupancy: Occupancy | None = None,
    found: Solid | None = None,
) -> list[View]:
    """Albedo, depth and normals from `num_views` sides; depths stop at the mesh's surface.

    `samples`, a lattice of `grid_size`, its `occupancy`, and the solid that was `found` in it spare
    doing so again where they are at hand.
    """
    samples = samples or sample(scene, config.grid_size)
    occupancy = occupancy or occupied(samples)
    found = found or solid.find(samples.density.cpu().numpy(), config.density_level)
    surface = Surface.of(found, samples) if found else None
    azimuths, elevations = places(config)
    scale = depth_scale(config.view_radius + math.sqrt(3.0) * scene.bound)
    # A few at a time: the rays of 150 pictures would fill gigabytes.
    at_once = max(1, _PIXELS_AT_ONCE // config.view_size**2)
    views = []
    for first in range(0, config.num_views, at_once):
        some = slice(first, first + at_once)
        cameras = cameras_at(azimuths[some], elevations[some], config.view_size, config)
        pictures = render(scene, occupancy, cameras, config.view_samples, surface=surface)
        for k, place in enumerate(zip(azimuths[some], elevations[some], strict=True)):
            name = f"view_{first + k:0{max(2, len(str(config.num_views - 1)))}d}"
            views.append(_view(name, k, place, cameras, pictures, scale, config))
    return views


def _view(
    name: str,
    k: int,
    place: tuple[float, float],
    cameras: Cameras,
    pictures: Rendering,
    scale: float,
    config: ExportConfig,
) -> View:
    """The record of the k-th of some cameras and pictures."""
    focal = float(cameras.focal[k])
    return View(
        name=name,
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
        azimuth_deg=place[0],
        elevation_deg=place[1],
        radius=config.view_radius,
    )
