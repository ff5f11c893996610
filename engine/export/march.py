"""Pictures of one scene by marching along the rays of its cameras.

sigma   density at a sample, per scene unit
delta   the interval a sample stands for: (far - near) / N along each ray
tau     optical depth up to the end of an interval, sum of sigma delta; opacity is 1 - exp(-tau)
w       weight of a sample (`engine.volume`)

Depth is where half of the light is gone, whatever lies below the surface being opaque. The surface
(`engine.export.surface`) is the mesh's own. A soft thing has no one place where half
of the light is gone: that lies deep where a ray meets it squarely, and at the outline where a ray
grazes it. The surface is one and the same for all cameras, and lies where the outline says.

Samples lie uniformly, at the interval centres, between the points where a ray enters and leaves the
box around the occupied cells; only those in occupied cells ask the scene. Axes: R rays, N samples,
K samples that matter.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engine.cameras import Cameras, rays, z_scale
from engine.export import pieces
from engine.export.occupancy import Occupancy
from engine.export.segments import Picks, Segments
from engine.export.subject import Subject, albedo_at, density_at
from engine.export.surface import Surface
from engine.volume import accumulate, composite

_SAMPLES_AT_ONCE = 2**20
_COLOUR_SHARE = 0.05
_NORMAL_SHARE = 0.25
"""Samples are asked for colour or normal from this share of the ray's greatest weight on. A normal
costs six densities, and its length does not matter, so that fewer samples will do."""


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """Pictures of a batch of cameras."""

    albedo: Float[Tensor, "*b h w 3"]
    """Straight (not premultiplied); 0 where nothing is seen."""
    alpha: Float[Tensor, "*b h w"]
    """Opacity."""
    depth: Float[Tensor, "*b h w"]
    """z-depth at which the opacity reaches 1/2 or the ray meets the surface, whichever is nearer; 0
    where alpha is below .5."""
    normal: Float[Tensor, "*b h w 3"]
    """World-space unit normals, 0 where there is none or none was asked for."""


@torch.no_grad()
def render(
    scene: Subject,
    occupancy: Occupancy,
    cameras: Cameras,
    num_samples: int,
    *,
    surface: Surface | None = None,
    with_normals: bool = True,
) -> Rendering:
    """Pictures of the scene from all cameras, `num_samples` uniform samples a ray.

    Depths stop at the `surface`, if there is one.
    """
    origins, directions = (x.float().to(scene.device) for x in rays(cameras))
    shape = origins.shape[:-1]
    origins, directions = origins.reshape(-1, 3), directions.reshape(-1, 3)
    near, far = occupancy.span(origins, directions)
    pixels = torch.zeros(len(origins), 8, device=scene.device)
    num_rays = max(1, pieces.size(_SAMPLES_AT_ONCE, scene.device) // num_samples)
    for chunk in (far > near).nonzero()[:, 0].split(num_rays):
        segments = Segments(
            origins=origins[chunk],
            directions=directions[chunk],
            near=near[chunk],
            delta=(far - near)[chunk] / num_samples,
        )
        pixels[chunk] = _march(scene, occupancy, segments, num_samples, surface, with_normals)
    pixels = pixels.reshape(*shape, 8)
    return Rendering(
        albedo=pixels[..., 0:3],
        alpha=pixels[..., 3],
        depth=pixels[..., 4] * z_scale(cameras).float().to(scene.device),
        normal=pixels[..., 5:8],
    )


def median_distance(sigma: Float[Tensor, "R N"], delta: Float[Tensor, "R"]) -> Float[Tensor, "R"]:
    """Distance from the first interval's start at which the opacity reaches 1/2; inf if never.

    That is where tau = ln 2. Density is constant within an interval, so tau is linear there and the
    place within interval i is (ln 2 - tau_{i-1}) / sigma_i, without error.
    """
    tau = torch.cumsum(sigma * delta[:, None], dim=-1)
    reached = tau >= math.log(2.0)
    first = reached.long().argmax(dim=-1, keepdim=True)
    sigma_first = sigma.gather(-1, first)[:, 0]
    tau_end = tau.gather(-1, first)[:, 0]
    end = (first[:, 0] + 1) * delta
    distance = end - (tau_end - math.log(2.0)) / sigma_first
    return torch.where(reached[:, -1], distance, torch.inf)


def outward_normals(scene: Subject, x: Float[Tensor, "K 3"], step: float) -> Float[Tensor, "K 3"]:
    """n = -grad sigma / |grad sigma| by central differences; 0 where the density is level."""
    offsets = torch.cat([torch.eye(3), -torch.eye(3)]).to(x) * step
    sigma = density_at(scene, x[None] + offsets[:, None])
    return torch.nn.functional.normalize((sigma[3:] - sigma[:3]).T, dim=-1)


def _march(
    scene: Subject,
    occupancy: Occupancy,
    segments: Segments,
    num_samples: int,
    surface: Surface | None,
    with_normals: bool,
) -> Float[Tensor, "R 8"]:
    """Per ray: albedo (3), opacity, distance (0 if half of the light passes), normal (3)."""
    distance = segments.distances(num_samples)
    visible = occupancy.visible(segments, distance).nonzero(as_tuple=True)
    sigma = torch.zeros_like(distance)
    sigma[visible] = density_at(scene, segments.points(distance, visible))
    delta = segments.delta[:, None].expand_as(sigma)
    weights = composite(sigma, delta)
    alpha = -torch.expm1(-(sigma * delta).sum(dim=-1))
    away = median = segments.near + median_distance(sigma, segments.delta)
    if surface is not None:
        away = torch.minimum(median, surface.distance(scene, segments, distance, sigma))
    away = torch.where(median.isfinite(), away, 0.0)
    albedo = _albedo(scene, segments, distance, weights)
    normal = torch.zeros_like(albedo)
    if with_normals:
        normal = _normal(scene, segments, distance, weights, 0.5 / occupancy.scale)
    return torch.cat([albedo, alpha[:, None], away[:, None], normal], dim=-1)


def _albedo(
    scene: Subject,
    segments: Segments,
    distance: Float[Tensor, "R N"],
    weights: Float[Tensor, "R N"],
) -> Float[Tensor, "R 3"]:
    """Mean albedo of the samples that matter, by weight; 0 on a ray that meets nothing."""
    matters = _matters(weights, _COLOUR_SHARE)
    total = torch.where(matters, weights, 0.0).sum(dim=-1, keepdim=True)
    picks = matters.nonzero(as_tuple=True)
    values = albedo_at(scene, segments.points(distance, picks))
    return _sum_along_rays(values, picks, weights) / torch.where(total > 0.0, total, 1.0)


def _normal(
    scene: Subject,
    segments: Segments,
    distance: Float[Tensor, "R N"],
    weights: Float[Tensor, "R N"],
    step: float,
) -> Float[Tensor, "R 3"]:
    """Direction of the mean normal of the samples that matter most; 0 where there is none."""
    picks = _matters(weights, _NORMAL_SHARE).nonzero(as_tuple=True)
    values = outward_normals(scene, segments.points(distance, picks), step)
    return torch.nn.functional.normalize(_sum_along_rays(values, picks, weights), dim=-1)


def _matters(weights: Float[Tensor, "R N"], share: float) -> Bool[Tensor, "R N"]:
    """Samples of at least this share of the greatest weight of their ray; never one without any."""
    return (weights >= share * weights.amax(dim=-1, keepdim=True)) & (weights > 0.0)


def _sum_along_rays(
    values: Float[Tensor, "K 3"], picks: Picks, weights: Float[Tensor, "R N"]
) -> Float[Tensor, "R 3"]:
    """Sums of weight x value over the picked samples of each ray.

    Through a dense array, because an indexed sum has no fixed order on a GPU.
    """
    dense = torch.zeros(*weights.shape, 3, device=values.device)
    dense[picks] = values
    return accumulate(weights, dense)
