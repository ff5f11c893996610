"""The views of one optimisation step: cameras, lights and how each view is shaded.

Distributions after DreamFusion (arXiv 2209.14988, section 3.2 and appendix A.2); `CameraConfig` and
`ShadingConfig` hold their numbers. Frame and units as in `engine.cameras`.

Axes: S scenes, V views of a scene. `part` is the part of a scene's run that is done, in [0, 1).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from engine.cameras import Cameras, focal_of, look_at, orbit_position
from engine.configs.cameras import CameraConfig
from engine.configs.common import Span
from engine.configs.shading import ShadingConfig
from engine.guidance.prompts import FRONT_HALF_WIDTH_DEG, OVERHEAD_ELEVATION_DEG
from engine.philox import Purpose, normal, uniform
from engine.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Light:
    """A point light a view, and what it does to the surface: albedo (ambient + diffuse cos)."""

    position: Float[Tensor, "S V 3"]
    ambient: Float[Tensor, "S V"]
    diffuse: Float[Tensor, "S V"]
    is_textureless: Float[Tensor, "S V"]
    """1 where albedo is replaced by white."""


@dataclass(frozen=True, kw_only=True)
class Viewpoints:
    """Everything about a step's views that does not depend on the scene's parameters."""

    cameras: Cameras
    azimuth_deg: Float[Tensor, "S V"]
    """Before the jitter, as `elevation_deg`."""
    elevation_deg: Float[Tensor, "S V"]
    word: Int[Tensor, "S V"]
    """Index into `engine.guidance.prompts.VIEWS`."""
    light: Light
    background: Float[Tensor, "S V 3"]
    """A plain colour behind each view."""


def sample(
    recipe: Recipe, seed: Int[Tensor, "S"], step: Int[Tensor, "S"], part: Float[Tensor, "S"]
) -> Viewpoints:
    """The views of each scene's step: a pure function of (seed, step)."""
    num_views = recipe.views
    azimuth, elevation, cameras = sample_cameras(
        recipe.camera, seed, step, num_views, recipe.render_size
    )
    return Viewpoints(
        cameras=cameras,
        azimuth_deg=azimuth,
        elevation_deg=elevation,
        word=view_index(azimuth, elevation),
        light=_sample_light(recipe.shading, cameras, seed, step, part),
        background=uniform(seed, step, Purpose.BACKGROUND, (num_views, 3)),
    )


def sample_cameras(
    config: CameraConfig, seed: Int[Tensor, "S"], step: Int[Tensor, "S"], num_views: int, size: int
) -> tuple[Float[Tensor, "S V"], Float[Tensor, "S V"], Cameras]:
    """Azimuths and elevations in degrees, and the jittered cameras."""
    u = uniform(seed, step, Purpose.VIEWPOINT, (6, num_views))
    azimuth = 360.0 * u[:, 0]
    if config.stratified_azimuth:
        sector = torch.arange(num_views, device=seed.device)
        azimuth = 360.0 * ((sector + u[:, 0]) / num_views + u[:, 5, :1]) % 360.0
    elevation = _elevation(config, u[:, 1], u[:, 2])
    radius = _span(config.radius, u[:, 3])
    if config.lens == "focal":
        focal = size * _span(config.focal, u[:, 4])
    else:
        focal = focal_of(_span(config.fov_y_deg, u[:, 4]), size)
    jitter = uniform(seed, step, Purpose.JITTER, (num_views, 3)) * 2.0 - 1.0
    offset = normal(seed, step, Purpose.AIM, (2, num_views, 3))
    position = orbit_position(azimuth, elevation, radius) + config.position_jitter * jitter
    up = config.up_jitter * offset[:, 1]
    # In place: a constant from the host would make a GPU wait.
    up[..., 2] += 1.0
    c2w = look_at(position, config.target_jitter * offset[:, 0], up)
    return azimuth, elevation, Cameras(c2w=c2w, focal=focal, size=size)


def view_index(
    azimuth_deg: Float[Tensor, "*b"], elevation_deg: Float[Tensor, "*b"]
) -> Int[Tensor, "*b"]:
    """Index of the view word; the tensor twin of `engine.guidance.prompts.view_word`."""
    # Python's precision, so that the twins agree at the very boundaries.
    from_front = (azimuth_deg.double() + 180.0) % 360.0 - 180.0
    is_back = (from_front.abs() > 180.0 - FRONT_HALF_WIDTH_DEG).long()
    is_side = (from_front.abs() >= FRONT_HALF_WIDTH_DEG).long() - is_back
    return torch.where(elevation_deg > OVERHEAD_ELEVATION_DEG, 3, is_side + 2 * is_back)


def _span(span: Span, u: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    return span[0] + (span[1] - span[0]) * u


def _elevation(
    config: CameraConfig, u: Float[Tensor, "*b"], coin: Float[Tensor, "*b"]
) -> Float[Tensor, "*b"]:
    """Half of the draws uniform in angle, half uniform in area on the sphere."""
    low, high = torch.deg2rad(torch.tensor(config.area_elevation_deg)).sin().tolist()
    by_area = torch.rad2deg(torch.asin(_span((low, high), u)))
    return torch.where(coin < 0.5, _span(config.elevation_deg, u), by_area)


def _sample_light(
    config: ShadingConfig,
    cameras: Cameras,
    seed: Int[Tensor, "S"],
    step: Int[Tensor, "S"],
    part: Float[Tensor, "S"],
) -> Light:
    """Lights towards the camera; coins decide whether a view is lit, and whether it is white."""
    eye = cameras.c2w[..., :3, 3]
    num_views = eye.shape[1]
    noise = normal(seed, step, Purpose.LIGHT, (num_views, 3))
    direction = F.normalize(eye + config.light_spread * noise, dim=-1)
    coin = uniform(seed, step, Purpose.SHADING, (4, num_views))
    diffuse = coin[:, 3] if config.soft else torch.full_like(coin[:, 3], config.diffuse)
    ambient = 1.0 - diffuse if config.soft else torch.full_like(diffuse, config.ambient)
    is_lit = (coin[:, 0] < config.shaded) & (part >= config.albedo_until)[:, None]
    return Light(
        position=direction * _span(config.light_distance, coin[:, 2])[..., None],
        ambient=torch.where(is_lit, ambient, 1.0),
        diffuse=torch.where(is_lit, diffuse, 0.0),
        is_textureless=(is_lit & (coin[:, 1] < config.textureless)).float(),
    )
