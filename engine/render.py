"""The rendering of one optimisation step: rays, samples, colours, pictures.

Axes: S scenes, V views, R = V h w rays of a scene, N samples of a ray.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from engine import background, cameras, occupancy
from engine.fields import Field, Parameters, Samples
from engine.kernels.composite import composite
from engine.philox import Purpose, uniform
from engine.recipe import Recipe
from engine.shading import lambertian
from engine.viewpoints import Light, Viewpoints


@dataclass(frozen=True)
class Rendering:
    """What a step needs of its pictures."""

    picture: Float[Tensor, "S V 3 h w"]
    """Colours in [0, 1], the background included."""
    opacity: Float[Tensor, "S R"]
    weights: Float[Tensor, "S R N"]
    distance: Float[Tensor, "S R N"]
    """Of the samples, from the camera."""
    delta: Float[Tensor, "S R N"]
    """As in `engine.volume`; 0 on rays that miss the scene."""
    normal: Float[Tensor, "S R N 3"] | None
    directions: Float[Tensor, "S R 3"]


@dataclass(frozen=True)
class _Traced:
    """Some rays of every scene, before what lies behind it."""

    colour: Float[Tensor, "S R 3"]
    opacity: Float[Tensor, "S R"]
    weights: Float[Tensor, "S R N"]
    distance: Float[Tensor, "S R N"]
    delta: Float[Tensor, "S R N"]
    normal: Float[Tensor, "S R N 3"] | None


def render(
    field: Field,
    parameters: Parameters,
    is_occupied: Bool[Tensor, "S cells"],
    views: Viewpoints,
    seed: Int[Tensor, "S"],
    step: Int[Tensor, "S"],
    part: Float[Tensor, "S"],
    recipe: Recipe,
    *,
    ray_chunk: int | None = None,
) -> Rendering:
    """Renders the views of every scene.

    With `ray_chunk`, so many rays of a scene are traced at a time, and once more for the gradient:
    the same picture in less memory and more time.
    """
    origins, directions = (ray.flatten(1, 3) for ray in cameras.rays(views.cameras))
    num_scenes, num_rays, _ = origins.shape
    u = uniform(seed, step, Purpose.STRATUM, (num_rays, recipe.march.num_samples))
    rays_per_view = num_rays // recipe.views

    def trace(rays: Int[Tensor, "r"]) -> _Traced:
        o, d = origins[:, rays], directions[:, rays]
        march = occupancy.march(is_occupied, o, d, u[:, rays], recipe.march, field.bound)
        x = o[:, :, None] + march.distance[..., None] * d[:, :, None]
        samples = field.query(parameters, x.flatten(1, 2), part, with_normal=recipe.needs_normals)
        colour = _colour(samples, x, views.light, rays // rays_per_view).view_as(x)
        seen = composite(samples.sigma.view_as(march.delta), march.delta, colour)
        return _Traced(
            colour=seen.sums[0],
            opacity=seen.opacity,
            weights=seen.weights,
            distance=march.distance,
            delta=march.delta,
            normal=None if samples.normal is None else samples.normal.view_as(x),
        )

    traced = _in_chunks(trace, torch.arange(num_rays, device=u.device), ray_chunk)
    backdrop = background.behind(
        recipe.background, parameters, directions, views.background, seed, step
    )
    pixels = traced.colour + (1.0 - traced.opacity)[..., None] * backdrop
    size = views.cameras.size
    return Rendering(
        picture=pixels.view(num_scenes, -1, size, size, 3).permute(0, 1, 4, 2, 3),
        opacity=traced.opacity,
        weights=traced.weights,
        distance=traced.distance,
        delta=traced.delta,
        normal=traced.normal,
        directions=directions,
    )


def _in_chunks(
    trace: Callable[[Tensor], _Traced], rays: Int[Tensor, "R"], size: int | None
) -> _Traced:
    """Traces the rays, `size` at a time, and keeps of each chunk only what it returns."""
    if size is None:
        return trace(rays)
    chunks: list[_Traced] = [
        checkpoint(trace, chunk, use_reentrant=False, preserve_rng_state=False)
        for chunk in rays.split(size)
    ]
    normals = [chunk.normal for chunk in chunks if chunk.normal is not None]
    return _Traced(
        colour=torch.cat([chunk.colour for chunk in chunks], dim=1),
        opacity=torch.cat([chunk.opacity for chunk in chunks], dim=1),
        weights=torch.cat([chunk.weights for chunk in chunks], dim=1),
        distance=torch.cat([chunk.distance for chunk in chunks], dim=1),
        delta=torch.cat([chunk.delta for chunk in chunks], dim=1),
        normal=torch.cat(normals, dim=1) if normals else None,
    )


def _colour(
    samples: Samples, x: Float[Tensor, "S R N 3"], light: Light, view: Int[Tensor, "R"]
) -> Float[Tensor, "S R*N 3"]:
    """Colour of every sample: albedo, or shaded by the light of its ray's view where there is a
    normal."""
    if samples.normal is None:
        return samples.albedo
    view = view.repeat_interleave(x.shape[2])
    return lambertian(
        samples.albedo,
        samples.normal,
        x.flatten(1, 2),
        light.position[:, view],
        light.ambient[:, view],
        light.diffuse[:, view],
        light.is_textureless[:, view],
    )
