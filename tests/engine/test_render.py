from dataclasses import replace

import numpy as np
import pytest
import torch

from engine import background, cameras, fields, occupancy, recipes, viewpoints
from engine.configs.background import BackgroundConfig
from engine.configs.fields import DenseGridConfig, FieldConfig, HashGridConfig, MipMlpConfig
from engine.configs.losses import LossConfig
from engine.configs.shading import ShadingConfig
from engine.fields import Field, Parameters
from engine.philox import Purpose, uniform
from engine.recipe import Recipe
from engine.render import Rendering, render
from engine.viewpoints import Viewpoints

DENSE = DenseGridConfig(resolutions=(6,), density_gain=3.0)
HASH = HashGridConfig(num_levels=2, log2_size=8, base_resolution=2, finest_resolution=6, hidden=5)
MIP = MipMlpConfig(num_frequencies=3, num_blocks=2, width=9, bound=1.4)
LIT = ShadingConfig(shaded=0.7, albedo_until=0.0)


def recipe(**changes) -> Recipe:
    return replace(recipes.get("smoke"), views=3, render_size=8, field=DENSE, **changes)


def stage(r: Recipe, num_scenes: int = 2) -> tuple[Field, Parameters, Viewpoints, Rendering]:
    field = fields.build(r.field)
    seed = torch.arange(num_scenes) + 5
    step = torch.arange(num_scenes) * 2
    part = torch.full((num_scenes,), 0.5)
    fresh = field.initial(seed) | background.initial(r.background, seed)
    parameters = {name: p + 0.5 * torch.randn_like(p) for name, p in fresh.items()}
    views = viewpoints.sample(r, seed, step, part)
    density = occupancy.initial(field, parameters, r.march.grid_size)
    is_occupied = occupancy.occupied(density, r.march)
    rendering = render(field, parameters, is_occupied, views, seed, step, part, r)
    return field, parameters, views, rendering


def naive_pixel(
    r: Recipe, scene: int, view: int, row: int, column: int, staged: tuple
) -> tuple[np.ndarray, float]:
    """One pixel, its samples one after the other from near to far."""
    field, parameters, views, _ = staged
    num_scenes = len(views.word)
    seed, step = torch.arange(num_scenes) + 5, torch.arange(num_scenes) * 2
    origins, directions = cameras.rays(views.cameras)
    o, d = origins[scene, view, row, column], directions[scene, view, row, column]
    ray = (view * r.render_size + row) * r.render_size + column
    shape = (r.views * r.render_size**2, r.march.num_samples)
    u = uniform(seed, step, Purpose.STRATUM, shape)[scene, ray]
    alone = {name: p[scene : scene + 1] for name, p in parameters.items()}
    density = occupancy.initial(field, alone, r.march.grid_size)
    is_occupied = occupancy.occupied(density, r.march)
    march = occupancy.march(
        is_occupied, o[None, None], d[None, None], u[None, None], r.march, field.bound
    )
    x = o + march.distance[0, 0, :, None] * d
    samples = field.query(alone, x[None], torch.tensor([0.5]), with_normal=r.shading.shaded > 0)
    colour, clear = np.zeros(3), 1.0
    light = views.light
    for n in range(r.march.num_samples):
        rho = samples.albedo[0, n].double().detach().numpy()
        if samples.normal is not None:
            towards = (light.position[scene, view] - x[n]).double().numpy()
            towards = towards / np.linalg.norm(towards)
            cosine = max(0.0, float(samples.normal[0, n].double().detach().numpy() @ towards))
            if light.is_textureless[scene, view]:
                rho = np.ones(3)
            rho = rho * float(light.ambient[scene, view] + light.diffuse[scene, view] * cosine)
        alpha = 1 - np.exp(-samples.sigma[0, n].item() * float(march.delta[0, 0, n]))
        colour += clear * alpha * rho
        clear *= 1 - alpha
    return colour + clear * views.background[scene, view].double().numpy(), 1 - clear


@pytest.mark.parametrize("shading", [ShadingConfig(), LIT], ids=["albedo", "lit"])
@pytest.mark.parametrize("field", [DENSE, HASH, MIP], ids=lambda f: f.kind)
def test_pixels_match_a_loop_over_samples(shading: ShadingConfig, field: FieldConfig) -> None:
    r = replace(recipe(shading=shading), field=field)
    staged = stage(r)
    rendering = staged[-1]
    assert rendering.picture.shape == (2, 3, 3, 8, 8)
    opacities = []
    for scene, view, row, column in [(0, 0, 3, 4), (0, 1, 0, 7), (1, 2, 4, 3), (1, 0, 5, 2)]:
        colour, opacity = naive_pixel(r, scene, view, row, column, staged)
        actual = rendering.picture[scene, view, :, row, column].detach().numpy()
        np.testing.assert_allclose(actual, colour, rtol=1e-3, atol=1e-4)
        ray = (view * 8 + row) * 8 + column
        assert rendering.opacity[scene, ray].item() == pytest.approx(opacity, abs=1e-4)
        opacities.append(opacity)
    assert max(opacities) > 0.5


def test_an_empty_scene_shows_its_backgrounds() -> None:
    r = replace(recipe(), field=replace(DENSE, blob_density=-80.0, blob_radius=100.0))
    field = fields.build(r.field)
    seed = torch.tensor([1, 2])
    views = viewpoints.sample(r, seed, seed, torch.zeros(2))
    nothing = torch.zeros(2, r.march.grid_size**3, dtype=torch.bool)
    rendering = render(field, field.initial(seed), nothing, views, seed, seed, torch.zeros(2), r)
    expected = views.background[..., None, None].expand_as(rendering.picture)
    torch.testing.assert_close(rendering.picture, expected)
    assert float(rendering.opacity.max()) < 1e-6


def test_normals_are_computed_only_where_something_needs_them() -> None:
    assert stage(recipe())[-1].normal is None
    assert stage(recipe(shading=LIT))[-1].normal is not None
    shaped = stage(recipe(losses=LossConfig(orientation=(1.0, 1.0))))[-1]
    assert shaped.normal is not None
    assert shaped.normal.shape == (*shaped.weights.shape, 3)
    assert shaped.directions.shape == (2, 3 * 64, 3)


def test_opacity_is_the_sum_of_the_weights_and_pictures_are_colours() -> None:
    rendering = stage(recipe())[-1]
    torch.testing.assert_close(rendering.opacity, rendering.weights.sum(-1))
    assert float(rendering.picture.min()) >= 0
    assert float(rendering.picture.max()) <= 1 + 1e-5


def test_behind_a_scene_lies_its_environment() -> None:
    config = BackgroundConfig(kind="mlp", num_frequencies=1, num_layers=2, width=4)
    r = recipe(background=config)
    _, parameters, views, rendering = stage(r)
    _, directions = cameras.rays(views.cameras)
    around = background.environment(config, parameters, directions.flatten(1, 3))
    colour = rendering.picture.permute(0, 1, 3, 4, 2).flatten(1, 3)
    is_clear = rendering.opacity < 1e-3
    assert 10 < is_clear.sum() < is_clear.numel() - 10
    torch.testing.assert_close(colour[is_clear], around[is_clear], rtol=0, atol=2e-3)


def gradients(
    r: Recipe, *, ray_chunk: int | None
) -> tuple[Rendering, tuple[torch.Tensor, ...], int]:
    """A rendering, the gradient of a fixed sum of it, and the bytes kept from one to the other."""
    kept: dict[int, int] = {}

    def pack(t: torch.Tensor) -> torch.Tensor:
        storage = t.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return t

    torch.manual_seed(5)
    field, parameters, views, _ = stage(r)
    leaves = {name: p.detach().requires_grad_() for name, p in parameters.items()}
    seed, step, part = torch.tensor([5, 6]), torch.tensor([0, 2]), torch.full((2,), 0.5)
    density = occupancy.initial(field, parameters, r.march.grid_size)
    is_occupied = occupancy.occupied(density, r.march)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        rendering = render(
            field, leaves, is_occupied, views, seed, step, part, r, ray_chunk=ray_chunk
        )
    num_bytes = sum(kept.values())
    weight = torch.linspace(-1, 2, rendering.picture.numel()).view_as(rendering.picture)
    total = (weight * rendering.picture).sum() + rendering.weights.square().sum()
    if rendering.normal is not None:
        total = total + (rendering.normal * rendering.directions[:, :, None]).square().sum()
    return rendering, torch.autograd.grad(total, list(leaves.values())), num_bytes


@pytest.mark.parametrize("shading", [ShadingConfig(), LIT], ids=["albedo", "lit"])
@pytest.mark.parametrize("field", [DENSE, HASH, MIP], ids=lambda f: f.kind)
def test_rays_in_chunks_are_the_same_in_less_memory(
    shading: ShadingConfig, field: FieldConfig
) -> None:
    environment = BackgroundConfig(kind="mlp", num_frequencies=1, num_layers=2, width=4)
    r = replace(recipe(shading=shading, background=environment), field=field)
    whole, slopes, num_bytes = gradients(r, ray_chunk=None)
    # 192 rays: four chunks, the last one smaller.
    chunked, chunked_slopes, fewer_bytes = gradients(r, ray_chunk=50)
    assert torch.equal(chunked.distance, whole.distance)
    assert torch.equal(chunked.delta, whole.delta)
    for name in ("picture", "opacity", "weights"):
        torch.testing.assert_close(getattr(chunked, name), getattr(whole, name))
    for slope, expected in zip(chunked_slopes, slopes, strict=True):
        assert expected.abs().max() > 1e-4
        largest = float(expected.abs().max())
        torch.testing.assert_close(slope, expected, rtol=1e-4, atol=1e-5 * largest)
    assert fewer_bytes < 0.25 * num_bytes
