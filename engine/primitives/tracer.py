"""Sphere tracing of a batch of scenes of one geometry: colour, alpha, depth and normals.

Legend: B scenes, P rays of each; t is the distance along a unit ray. A ray advances by the signed
distance (Hart 1996) until it is within `HIT` of a surface or has left the bounding sphere. Within
this file vectors are component-major, "B 3 P", so that each component lies together in memory.
Rays are traced at `SUPERSAMPLING` times the picture's size and averaged, so alpha is the covered
share of a pixel. Depth is z-depth in scene units, 0 where nothing is hit; normals are unit, in the
world frame.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.cameras import Cameras, rays, z_scale
from engine.primitives.grammar import Geometry
from engine.primitives.kinds import slots
from engine.primitives.shape import BOUND
from engine.primitives.solids import Points, union

MAX_STEPS = 48
"""Steps of a ray; grazing rays that need more count as missed."""

HIT = 2e-3
"""Distance at which a ray has arrived: about a twentieth of a pixel of a 64 x 64 picture."""

SUPERSAMPLING = 2

CHUNK = {"cuda": 512, "cpu": 2}
"""Pictures to trace at once: on the CPU few enough for the cache, on a GPU enough to fill it."""

_NORMAL_STEP = 1e-3
_COMPACT_EVERY = 8


@dataclass(frozen=True, kw_only=True)
class Lighting:
    """One point light a scene: rho (ambient + diffuse max(0, n.l)), DreamFusion eq. 3.

    Albedo alone is ambient 1, diffuse 0; a textureless picture has rho = 1.
    """

    position: Float[Tensor, "B 3"]
    ambient: Float[Tensor, "B"]
    diffuse: Float[Tensor, "B"]
    textureless: Float[Tensor, "B"]
    """1 where the albedo is replaced by white, else 0."""


@dataclass(frozen=True, kw_only=True)
class Traced:
    """What a batch of rays met. Colour is straight (not multiplied by alpha)."""

    colour: Float[Tensor, "B h w 3"]
    alpha: Float[Tensor, "B h w"]
    depth: Float[Tensor, "B h w"]
    normal: Float[Tensor, "B h w 3"]


def _nearest(
    geometry: Geometry, xyz: Float[Tensor, "B 3 P"], proportions: Float[Tensor, "B K"]
) -> Float[Tensor, "B P"]:
    """Distance to the whole scene."""
    return union(*slots(geometry, Points(*xyz.unbind(1)), proportions))


def _chord(
    origin: Float[Tensor, "B 3 P"], direction: Float[Tensor, "B 3 P"]
) -> tuple[Float[Tensor, "B P"], Float[Tensor, "B P"]]:
    """Where a ray enters and leaves the bounding sphere; leave < enter where it misses."""
    middle = -(origin * direction).sum(1)
    squared = BOUND**2 - origin.square().sum(1) + middle.square()
    half = squared.clamp_min(0.0).sqrt()
    leave = torch.where(squared > 0, middle + half, torch.full_like(half, -1.0))
    return (middle - half).clamp_min(0.0), leave


def _advance(
    geometry: Geometry,
    proportions: Float[Tensor, "B K"],
    origin: Float[Tensor, "B 3 P"],
    direction: Float[Tensor, "B 3 P"],
    t: Float[Tensor, "B P"],
    steps: int,
) -> tuple[Float[Tensor, "B P"], Float[Tensor, "B P"]]:
    """A few steps of sphere tracing; returns t and the distance found last."""
    gap = torch.zeros_like(t)
    for _ in range(steps):
        gap = _nearest(geometry, origin + t[:, None] * direction, proportions)
        t = t + torch.where(gap < HIT, 0.0, gap)
    return t, gap


def _select(values: Tensor, index: Int[Tensor, "B Q"]) -> Tensor:
    """Values of chosen rays: of a tensor "B P", or "B c P" with components."""
    if values.ndim == 2:
        return values.gather(1, index)
    return values.gather(2, index[:, None].expand(-1, values.shape[1], -1))


def _active_first(active: Bool[Tensor, "B P"]) -> Int[Tensor, "B Q"]:
    """Per object the indices of its active rays, padded with inactive ones to equal length."""
    rank = active.cumsum(1)
    count = rank[:, -1:]
    ray = torch.arange(active.shape[1], device=active.device).expand_as(rank)
    place = torch.where(active, rank - 1, count + ray - rank)
    return torch.empty_like(rank).scatter_(1, place, ray)[:, : int(count.max())]


def march(
    geometry: Geometry,
    proportions: Float[Tensor, "B K"],
    origin: Float[Tensor, "B 3 P"],
    direction: Float[Tensor, "B 3 P"],
) -> Float[Tensor, "B P"]:
    """Distance along each unit ray to the surface; infinite where it misses.

    Every few steps the rays that have arrived or left are dropped, so the cost follows the rays
    still under way.
    """
    enter, leave = _chord(origin, direction)
    found = torch.full_like(enter, torch.inf)
    active, t = leave > enter, enter
    index = _active_first(active)
    for done in range(0, MAX_STEPS, _COMPACT_EVERY):
        if index.shape[1] == 0:
            break
        steps = min(_COMPACT_EVERY, MAX_STEPS - done)
        here = [_select(values, index) for values in (origin, direction, t, leave)]
        is_under_way = _select(active, index)
        t_here, gap = _advance(geometry, proportions, here[0], here[1], here[2], steps)
        is_inside = is_under_way & (t_here <= here[3])
        hit = is_inside & (gap < HIT)
        found = found.scatter(1, index, torch.where(hit, t_here, _select(found, index)))
        t = t.scatter(1, index, t_here)
        active = active.scatter(1, index, is_inside & ~hit)
        index = _active_first(active)
    return found


def _normals(
    geometry: Geometry, proportions: Float[Tensor, "B K"], surface: Float[Tensor, "B 3 P"]
) -> Float[Tensor, "B 3 P"]:
    """Unit gradient of the distance, by differences at the corners of a tetrahedron."""
    corners = torch.tensor(
        [[1.0, -1.0, -1.0], [-1.0, -1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, 1.0, 1.0]],
        device=surface.device,
    )
    gradient = torch.zeros_like(surface)
    for corner in corners[:, :, None]:
        gap = _nearest(geometry, surface + _NORMAL_STEP * corner, proportions)
        gradient = gradient + gap[:, None] * corner
    return torch.nn.functional.normalize(gradient, dim=1)


def _shade(
    surface: Float[Tensor, "B 3 P"],
    normal: Float[Tensor, "B 3 P"],
    albedo: Float[Tensor, "B 3 P"],
    lighting: Lighting,
) -> Float[Tensor, "B 3 P"]:
    towards = torch.nn.functional.normalize(lighting.position[..., None] - surface, dim=1)
    cosine = (normal * towards).sum(1, keepdim=True).clamp_min(0.0)
    strength = lighting.ambient[:, None, None] + lighting.diffuse[:, None, None] * cosine
    white = lighting.textureless[:, None, None]
    return (albedo + white * (1.0 - albedo)) * strength


def _surface_values(
    geometry: Geometry,
    proportions: Float[Tensor, "B K"],
    surface: Float[Tensor, "B 3 P"],
    palette: Float[Tensor, "B slots 3"],
    lighting: Lighting,
) -> tuple[Float[Tensor, "B 3 P"], Float[Tensor, "B 3 P"]]:
    """Colour and normal of surface points; a point wears the colour of its nearest slot."""
    normal = _normals(geometry, proportions, surface)
    nearest, *others = slots(geometry, Points(*surface.unbind(1)), proportions)
    albedo = palette[:, 0, :, None].expand_as(surface)
    for number, gap in enumerate(others, start=1):
        albedo = torch.where((gap < nearest)[:, None], palette[:, number, :, None], albedo)
        nearest = torch.minimum(nearest, gap)
    return _shade(surface, normal, albedo, lighting), normal


def _pixels(values: Float[Tensor, "B c P"], size: int) -> Float[Tensor, "B c h w"]:
    """Means over each pixel's samples."""
    s = SUPERSAMPLING
    return values.reshape(*values.shape[:2], size, s, size, s).mean(dim=(3, 5))


def trace(
    geometry: Geometry,
    proportions: Float[Tensor, "B K"],
    palette: Float[Tensor, "B slots 3"],
    cameras: Cameras,
    lighting: Lighting,
) -> Traced:
    """Pictures of a batch of scenes of one geometry, one camera and one light each.

    `palette` holds an albedo for each slot of the geometry, equal where they share a colour.
    Colour, depth and normal are means over the covered part of a pixel.
    """
    size, fine = cameras.size, cameras.resized(cameras.size * SUPERSAMPLING)
    origin, direction = (r.flatten(1, 2).mT.contiguous() for r in rays(fine))
    t = march(geometry, proportions, origin, direction)
    index = _active_first(t.isfinite())
    t_hit = _select(t, index)
    covered = t_hit.isfinite()
    t_hit = torch.where(covered, t_hit, 0.0)
    surface = _select(origin, index) + t_hit[:, None] * _select(direction, index)
    colour, normal = _surface_values(geometry, proportions, surface, palette, lighting)
    z_depth = t_hit * _select(z_scale(fine).flatten(1, 2), index)
    packed = torch.cat([colour, normal, z_depth[:, None], torch.ones_like(z_depth)[:, None]], dim=1)
    canvas = torch.zeros(len(t), 8, t.shape[1], dtype=t.dtype, device=t.device)
    canvas.scatter_(2, index[:, None].expand(-1, 8, -1), packed * covered[:, None])
    mean = _pixels(canvas, size)
    alpha = mean[:, 7]
    mean = (mean / alpha.clamp_min(1e-6)[:, None]).movedim(1, -1)
    normal = torch.nn.functional.normalize(mean[..., 3:6], dim=-1)
    return Traced(colour=mean[..., :3], alpha=alpha, depth=mean[..., 6], normal=normal)
