"""The rendering of one optimisation step: rays, samples, colours, pictures.

Axes: S scenes, V views, R = V h w rays of a scene, N samples of a ray.
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine import background, cameras, occupancy, volume
from engine.fields import Field, Parameters, Samples
from engine.philox import Purpose, uniform
from engine.recipe import Recipe
from engine.shading import lambertian
from engine.viewpoints import Viewpoints


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


def render(
    field: Field,
    parameters: Parameters,
    is_occupied: Bool[Tensor, "S cells"],
    views: Viewpoints,
    seed: Int[Tensor, "S"],
    step: Int[Tensor, "S"],
    part: Float[Tensor, "S"],
    recipe: Recipe,
) -> Rendering:
    """Renders the views of every scene."""
    origins, directions = (ray.flatten(1, 3) for ray in cameras.rays(views.cameras))
    num_scenes, num_rays, _ = origins.shape
    u = uniform(seed, step, Purpose.STRATUM, (num_rays, recipe.march.num_samples))
    march = occupancy.march(is_occupied, origins, directions, u, recipe.march, field.bound)
    x = origins[:, :, None] + march.distance[..., None] * directions[:, :, None]
    samples = field.query(parameters, x.flatten(1, 2), part, with_normal=recipe.needs_normals)
    weights = volume.composite(samples.sigma.view_as(march.delta), march.delta)
    colour = _colour(samples, x, views, num_rays // recipe.views).view_as(x)
    opacity = weights.sum(-1)
    backdrop = background.behind(
        recipe.background, parameters, directions, views.background, seed, step
    )
    pixels = volume.accumulate(weights, colour) + (1.0 - opacity)[..., None] * backdrop
    size = views.cameras.size
    return Rendering(
        picture=pixels.view(num_scenes, -1, size, size, 3).permute(0, 1, 4, 2, 3),
        opacity=opacity,
        weights=weights,
        distance=march.distance,
        delta=march.delta,
        normal=None if samples.normal is None else samples.normal.view_as(x),
        directions=directions,
    )


def _colour(
    samples: Samples, x: Float[Tensor, "S R N 3"], views: Viewpoints, rays_per_view: int
) -> Float[Tensor, "S R*N 3"]:
    """Colour of every sample: albedo, or shaded by its view's light where there is a normal."""
    if samples.normal is None:
        return samples.albedo
    repeats = rays_per_view * x.shape[2]
    light = views.light
    return lambertian(
        samples.albedo,
        samples.normal,
        x.flatten(1, 2),
        light.position.repeat_interleave(repeats, dim=1),
        light.ambient.repeat_interleave(repeats, dim=1),
        light.diffuse.repeat_interleave(repeats, dim=1),
        light.is_textureless.repeat_interleave(repeats, dim=1),
    )
