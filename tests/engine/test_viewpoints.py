import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine import recipes, viewpoints
from engine.configs.cameras import CameraConfig
from engine.configs.shading import ShadingConfig
from engine.guidance.prompts import VIEWS, view_word
from engine.recipe import Recipe

NUM_SCENES = 2000
PLAIN = CameraConfig(position_jitter=0.0, target_jitter=0.0, up_jitter=0.0)


def many(num_scenes: int = NUM_SCENES) -> tuple[Tensor, Tensor]:
    return torch.arange(num_scenes), torch.full((num_scenes,), 17)


def recipe(**changes) -> Recipe:
    return replace(recipes.get("smoke"), views=3, **changes)


def test_cameras_stand_where_their_angles_say() -> None:
    azimuth, elevation, cameras = viewpoints.sample_cameras(PLAIN, *many(50), 3, 16)
    assert azimuth.shape == elevation.shape == cameras.focal.shape == (50, 3)
    for s, v in np.ndindex(50, 3):
        position = cameras.c2w[s, v, :3, 3].double().numpy()
        radius = np.linalg.norm(position)
        a, e = math.radians(float(azimuth[s, v])), math.radians(float(elevation[s, v]))
        expected = [math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e)]
        np.testing.assert_allclose(position / radius, expected, atol=1e-5)
        np.testing.assert_allclose(cameras.c2w[s, v, :3, 2].numpy(), expected, atol=1e-5)


def test_every_draw_keeps_its_range() -> None:
    config = replace(PLAIN, elevation_deg=(-20.0, 80.0), area_elevation_deg=(-20.0, 80.0))
    azimuth, elevation, cameras = viewpoints.sample_cameras(config, *many(), 4, 64)
    radius = cameras.c2w[..., :3, 3].norm(dim=-1)
    fov = torch.rad2deg(2 * torch.atan(32 / cameras.focal))
    for values, (low, high) in [
        (azimuth, (0.0, 360.0)),
        (elevation, config.elevation_deg),
        (radius, config.radius),
        (fov, config.fov_y_deg),
    ]:
        assert float(values.min()) >= low - 1e-4
        assert float(values.max()) <= high + 1e-4
        assert float(values.min()) < low + 0.01 * (high - low)
        assert float(values.max()) > high - 0.01 * (high - low)
    for values, span in [(radius, config.radius), (fov, config.fov_y_deg)]:
        scaled = (values.flatten().double().numpy() - span[0]) / (span[1] - span[0])
        assert scipy.stats.kstest(scaled, "uniform").pvalue > 0.01


def test_elevation_is_half_uniform_in_angle_and_half_in_area() -> None:
    _, elevation, _ = viewpoints.sample_cameras(PLAIN, *many(20_000), 1, 64)
    low, high = PLAIN.elevation_deg
    sin_low, sin_high = math.sin(math.radians(low)), math.sin(math.radians(high))

    def law(degrees: np.ndarray) -> np.ndarray:
        by_angle = (degrees - low) / (high - low)
        by_area = (np.sin(np.radians(degrees)) - sin_low) / (sin_high - sin_low)
        return 0.5 * by_angle + 0.5 * by_area

    sample = elevation[:, 0].double().numpy()
    assert scipy.stats.kstest(sample, law).pvalue > 0.01
    # The test can tell the mixture from its halves.
    assert scipy.stats.kstest((sample - low) / (high - low), "uniform").pvalue < 1e-6


@pytest.mark.parametrize("u", [0.0, 0.5, 1 - 2.0**-24])
@pytest.mark.parametrize("coin", [0.0, 0.9])
@pytest.mark.parametrize("span", [(-10.0, 90.0), (-90.0, 90.0), (90.0, 90.0), (0.0, 30.0)])
def test_elevation_is_finite_for_every_number_that_can_be_drawn(
    u: float, coin: float, span: tuple[float, float]
) -> None:
    config = CameraConfig(elevation_deg=span, area_elevation_deg=span)
    elevation = viewpoints._elevation(config, torch.tensor([u]), torch.tensor([coin]))
    assert span[0] - 0.05 <= float(elevation) <= span[1] + 0.05


@pytest.mark.parametrize("num_views", [1, 3, 4])
def test_azimuths_are_stratified_over_the_views_and_uniform_on_the_whole(num_views: int) -> None:
    azimuth, _, _ = viewpoints.sample_cameras(PLAIN, *many(), num_views, 64)
    assert scipy.stats.kstest(azimuth[:, 0].double().numpy() / 360, "uniform").pvalue > 0.01
    for row in azimuth.double().numpy():
        # Some rotation puts exactly one view into each stratum: neighbours are never further
        # apart than two strata.
        gaps = np.diff(np.append(np.sort(row), np.sort(row)[0] + 360))
        assert gaps.max() <= 2 * 360 / num_views + 1e-3


def test_azimuths_without_strata_are_independent_of_each_other() -> None:
    free = replace(PLAIN, stratified_azimuth=False)
    azimuth, _, _ = viewpoints.sample_cameras(free, *many(), 2, 64)
    turns = azimuth.double().numpy() / 360
    for values in (turns[:, 0], turns[:, 1], (turns[:, 0] - turns[:, 1]) % 1.0):
        assert scipy.stats.kstest(values, "uniform").pvalue > 0.01


def test_the_two_halves_of_the_elevations_have_ranges_of_their_own() -> None:
    config = replace(PLAIN, elevation_deg=(-40.0, -30.0), area_elevation_deg=(0.0, 90.0))
    _, elevation, _ = viewpoints.sample_cameras(config, *many(8000), 1, 64)
    sample = elevation[:, 0].double().numpy()
    by_angle, by_area = sample[sample < -20], sample[sample > -20]
    assert len(by_area) / len(sample) == pytest.approx(0.5, abs=0.02)
    assert scipy.stats.kstest((by_angle + 40) / 10, "uniform").pvalue > 0.01
    assert scipy.stats.kstest(np.sin(np.radians(by_area)), "uniform").pvalue > 0.01


def test_a_lens_of_focal_lengths_is_uniform_in_them() -> None:
    config = replace(PLAIN, lens="focal", focal=(0.7, 1.35))
    _, _, cameras = viewpoints.sample_cameras(config, *many(), 2, 48)
    scaled = (cameras.focal.flatten().double().numpy() / 48 - 0.7) / 0.65
    assert scipy.stats.kstest(scaled, "uniform").pvalue > 0.01
    # DreamFusion's range of focal lengths is one of fields of view from 40.6 to 71.1 degrees.
    fov = torch.rad2deg(2 * torch.atan(24 / cameras.focal))
    assert float(fov.min()) == pytest.approx(40.6, abs=0.2)
    assert float(fov.max()) == pytest.approx(71.1, abs=0.2)


def test_jitter_moves_position_target_and_up_by_its_measure() -> None:
    config = CameraConfig(position_jitter=0.1, target_jitter=0.05, up_jitter=0.02)
    seed, step = many()
    _, _, plain = viewpoints.sample_cameras(PLAIN, seed, step, 2, 64)
    _, _, moved = viewpoints.sample_cameras(config, seed, step, 2, 64)
    shift = (moved.c2w - plain.c2w)[..., :3, 3].flatten().double().numpy()
    assert scipy.stats.kstest((shift + 0.1) / 0.2, "uniform").pvalue > 0.01
    assert float(plain.c2w[..., 2, 0].std()) < 1e-6


def crosswise(c2w: np.ndarray) -> np.ndarray:
    """Where optical axes pass the origin, N 2: across the way to the camera, level and upwards.

    A target t shows itself as its crosswise part over 1 - t's part of the way.
    """
    eye, back = c2w[:, :3, 3], c2w[:, :3, 2]
    out = eye / np.linalg.norm(eye, axis=-1, keepdims=True)
    level = np.cross([0.0, 0.0, 1.0], out)
    level /= np.linalg.norm(level, axis=-1, keepdims=True)
    passing = eye - ((eye * out).sum(-1) / (back * out).sum(-1))[:, None] * back
    return np.stack([(passing * level).sum(-1), (passing * np.cross(out, level)).sum(-1)], -1)


def lean(c2w: np.ndarray) -> np.ndarray:
    """What an up vector (0, 0, 1) + u leans along the level right, over 1 + u's part of the
    picture's upright, as the camera's roll shows it."""
    return c2w[:, 2, 0] / c2w[:, 2, 1] * np.sqrt(1.0 - c2w[:, 2, 2] ** 2)


def test_the_point_looked_at_and_the_up_vector_are_normal() -> None:
    """As far as so small jitters show: what they are divided by is all but 1 near the horizon."""
    config = replace(PLAIN, elevation_deg=(-30.0, 30.0), area_elevation_deg=(-30.0, 30.0))
    config = replace(config, target_jitter=0.05, up_jitter=0.02)
    _, _, cameras = viewpoints.sample_cameras(config, *many(), 2, 64)
    c2w = cameras.c2w.flatten(0, 1).double().numpy()
    level, upright = crosswise(c2w).T / 0.05
    drawn = [level, upright, lean(c2w) / 0.02]
    for values in drawn:
        assert scipy.stats.kstest(values, "norm").pvalue > 0.01
        assert values.std() == pytest.approx(1.0, abs=0.04)
    # Three draws, and other ones for the next view.
    assert np.abs(np.corrcoef(drawn) - np.eye(3)).max() < 0.06
    for values in drawn:
        assert abs(np.corrcoef(values[0::2], values[1::2])[0, 1]) < 0.08


@given(st.floats(-720, 720, width=32), st.floats(-90, 90, width=32))
def test_view_index_is_the_view_word_of_any_angle(azimuth: float, elevation: float) -> None:
    index = viewpoints.view_index(torch.tensor(azimuth), torch.tensor(elevation))
    assert VIEWS[int(index)] == view_word(azimuth, elevation)


def test_view_index_is_the_view_word_at_and_around_every_boundary() -> None:
    angles = []
    for edge in (45, 135, 225, 315, 0, 180, 360, -45, -135, 405):
        exact = torch.tensor(float(edge))
        angles += [exact, exact.nextafter(exact + 1), exact.nextafter(exact - 1)]
    azimuth = torch.stack(angles)
    sixty = torch.tensor(60.0)
    for elevation in (torch.tensor(0.0), sixty, sixty.nextafter(sixty + 1)):
        index = viewpoints.view_index(azimuth, elevation.expand_as(azimuth))
        expected = [view_word(float(a), float(elevation)) for a in azimuth]
        assert [VIEWS[i] for i in index.tolist()] == expected


def test_view_index_is_the_view_word_of_every_drawn_view() -> None:
    azimuth, elevation, _ = viewpoints.sample_cameras(CameraConfig(), *many(), 3, 8)
    index = viewpoints.view_index(azimuth, elevation)
    words = [
        view_word(float(a), float(e))
        for a, e in zip(azimuth.flatten(), elevation.flatten(), strict=True)
    ]
    assert [VIEWS[i] for i in index.flatten().tolist()] == words
    assert set(words) == set(VIEWS)


def test_views_are_a_pure_function_of_seed_and_step() -> None:
    lit = recipe(shading=ShadingConfig(shaded=0.75, albedo_until=0.0))
    seed, step = torch.tensor([5, 8, 5]), torch.tensor([2, 2, 3])
    part = torch.tensor([0.2, 0.2, 0.3])
    together = viewpoints.sample(lit, seed, step, part)
    again = viewpoints.sample(lit, seed[:1], step[:1], part[:1])
    for name in ("c2w", "focal"):
        assert torch.equal(getattr(together.cameras, name)[0], getattr(again.cameras, name)[0])
    assert torch.equal(together.background[0], again.background[0])
    for name in ("word", "azimuth_deg", "elevation_deg"):
        assert torch.equal(getattr(together, name)[0], getattr(again, name)[0])
    for name in ("position", "ambient", "diffuse", "is_textureless"):
        assert torch.equal(getattr(together.light, name)[0], getattr(again.light, name)[0])
    for other in (1, 2):
        assert not torch.allclose(together.cameras.c2w[0], together.cameras.c2w[other])
        assert not torch.allclose(together.background[0], together.background[other])


def test_lights_are_lit_as_often_as_the_recipe_says() -> None:
    shading = ShadingConfig(
        shaded=0.75, textureless=0.4, albedo_until=0.1, ambient=0.1, diffuse=0.9
    )
    seed, step = many()
    light = viewpoints.sample(recipe(shading=shading), seed, step, torch.full((NUM_SCENES,), 0.5))
    light = light.light
    is_lit = light.diffuse > 0
    assert float(is_lit.float().mean()) == pytest.approx(0.75, abs=0.02)
    assert float(light.is_textureless[is_lit].mean()) == pytest.approx(0.4, abs=0.02)
    assert light.diffuse[is_lit].unique().tolist() == pytest.approx([0.9])
    assert light.ambient[is_lit].unique().tolist() == pytest.approx([0.1])
    assert light.ambient[~is_lit].unique().tolist() == [1.0]
    assert light.is_textureless[~is_lit].unique().tolist() == [0.0]
    distance = light.position.norm(dim=-1).flatten().double().numpy()
    assert scipy.stats.kstest((distance - 0.8) / 0.7, "uniform").pvalue > 0.01


def test_soft_lights_mix_ambient_and_diffuse_evenly() -> None:
    shading = ShadingConfig(shaded=0.75, textureless=0.4, albedo_until=0.0, soft=True)
    seed, step = many()
    views = viewpoints.sample(recipe(shading=shading), seed, step, torch.zeros(NUM_SCENES))
    light = views.light
    is_lit = light.diffuse > 0
    assert float(is_lit.float().mean()) == pytest.approx(0.75, abs=0.02)
    assert scipy.stats.kstest(light.diffuse[is_lit].double().numpy(), "uniform").pvalue > 0.01
    torch.testing.assert_close(light.ambient + light.diffuse, torch.ones_like(light.diffuse))
    # Which views are lit, and white, is not bound up with their mix.
    white = light.is_textureless[is_lit] > 0
    assert float(light.diffuse[is_lit][white].mean()) == pytest.approx(0.5, abs=0.03)


def test_lights_follow_their_distance_and_spread() -> None:
    seed, step = many()
    shading = ShadingConfig(
        shaded=1.0, albedo_until=0.0, light_distance=(2.0, 5.0), light_spread=0.0
    )
    views = viewpoints.sample(recipe(shading=shading), seed, step, torch.zeros(NUM_SCENES))
    eye = torch.nn.functional.normalize(views.cameras.c2w[..., :3, 3], dim=-1)
    distance = (views.light.position * eye).sum(-1)
    torch.testing.assert_close(views.light.position, distance[..., None] * eye)
    scaled = (distance.flatten().double().numpy() - 2.0) / 3.0
    assert scipy.stats.kstest(scaled, "uniform").pvalue > 0.01


def test_lights_come_from_the_camera_s_side() -> None:
    shading = ShadingConfig(shaded=1.0, albedo_until=0.0)
    seed, step = many()
    views = viewpoints.sample(recipe(shading=shading), seed, step, torch.zeros(NUM_SCENES))
    eye = torch.nn.functional.normalize(views.cameras.c2w[..., :3, 3], dim=-1)
    cosine = (torch.nn.functional.normalize(views.light.position, dim=-1) * eye).sum(-1)
    assert float(cosine.mean()) > 0.7


def test_no_light_before_its_part_of_the_run() -> None:
    shading = ShadingConfig(shaded=1.0, albedo_until=0.25)
    part = torch.tensor([0.0, 0.2499, 0.25, 0.9])
    seed = torch.arange(4)
    light = viewpoints.sample(recipe(shading=shading), seed, seed, part).light
    assert (light.diffuse > 0).all(dim=1).tolist() == [False, False, True, True]
    assert (light.diffuse > 0).any(dim=1).tolist() == [False, False, True, True]


def test_backgrounds_are_uniform_colours() -> None:
    seed, step = many()
    views = viewpoints.sample(recipe(), seed, step, torch.zeros(NUM_SCENES))
    assert views.background.shape == (NUM_SCENES, 3, 3)
    sample = views.background.flatten().double().numpy()
    assert scipy.stats.kstest(sample, "uniform").pvalue > 0.01


NUM_PAPER = 12_000
PAPER = recipes.get("dreamfusion_paper")
"""Held against the paper's words below, drawn anew with none of the sampler's code."""


@pytest.fixture(scope="module")
def paper_views() -> viewpoints.Viewpoints:
    part = torch.full((NUM_PAPER,), 0.5)
    return viewpoints.sample(replace(PAPER, views=1), *many(NUM_PAPER), part)


def test_in_the_paper_elevations_mix_angle_and_half_sphere(
    paper_views: viewpoints.Viewpoints,
) -> None:
    def law(degrees: np.ndarray) -> np.ndarray:
        by_area = np.sin(np.radians(np.clip(degrees, 0, 90)))
        return 0.5 * (degrees + 10) / 100 + 0.5 * by_area

    sample = paper_views.elevation_deg.flatten().double().numpy()
    assert scipy.stats.kstest(sample, law).pvalue > 0.01


def test_in_the_paper_azimuths_focal_lengths_and_light_distances_are_uniform(
    paper_views: viewpoints.Viewpoints,
) -> None:
    for values, low, high in (
        (paper_views.azimuth_deg, 0.0, 360.0),
        (paper_views.cameras.focal / 64, 0.7, 1.35),
        (paper_views.light.position.norm(dim=-1), 0.8, 1.5),
    ):
        scaled = (values.flatten().double().numpy() - low) / (high - low)
        assert scipy.stats.kstest(scaled, "uniform").pvalue > 0.01


def test_in_the_paper_positions_are_radius_and_jitter(paper_views: viewpoints.Viewpoints) -> None:
    """Drawn anew by numpy and compared as two samples."""
    random = np.random.default_rng(0)
    size = NUM_PAPER
    is_by_angle = random.random(size) < 0.5
    e = np.where(
        is_by_angle,
        np.radians(random.uniform(-10, 90, size)),
        np.arcsin(random.uniform(0, 1, size)),
    )
    a, radius = random.uniform(0, 2 * np.pi, size), random.uniform(1.0, 1.5, size)
    unit = np.stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)], axis=-1)
    eye = radius[:, None] * unit + random.uniform(-0.1, 0.1, (size, 3))
    mine = paper_views.cameras.c2w[:, 0, :3, 3].double().numpy()
    for k in range(3):
        assert scipy.stats.kstest(mine[:, k], eye[:, k]).pvalue > 0.01
    light = eye + random.normal(size=(size, 3))
    light /= np.linalg.norm(light, axis=-1, keepdims=True)
    towards = (light * eye).sum(-1) / np.linalg.norm(eye, axis=-1)
    where = torch.cosine_similarity(
        paper_views.light.position, paper_views.cameras.c2w[..., :3, 3], dim=-1
    )
    assert scipy.stats.kstest(where.flatten().double().numpy(), towards).pvalue > 0.01


def test_in_the_paper_the_point_looked_at_and_the_up_vector(
    paper_views: viewpoints.Viewpoints,
) -> None:
    """Drawn anew by numpy around the same positions, and compared as two samples."""
    mine = paper_views.cameras.c2w[:, 0].double().numpy()
    random = np.random.default_rng(0)
    towards = mine[:, :3, 3] - random.normal(scale=0.2, size=(NUM_PAPER, 3))
    up = np.array([0.0, 0.0, 1.0]) + random.normal(scale=0.02, size=(NUM_PAPER, 3))
    other = mine.copy()
    other[:, :3, 2] = towards / np.linalg.norm(towards, axis=-1, keepdims=True)
    right = np.cross(up, other[:, :3, 2])
    other[:, :3, 0] = right / np.linalg.norm(right, axis=-1, keepdims=True)
    other[:, :3, 1] = np.cross(other[:, :3, 2], other[:, :3, 0])
    for k in range(2):
        assert scipy.stats.kstest(crosswise(mine)[:, k], crosswise(other)[:, k]).pvalue > 0.01
    assert scipy.stats.kstest(lean(mine), lean(other)).pvalue > 0.01


def test_in_the_paper_shading_falls_into_its_three_kinds(
    paper_views: viewpoints.Viewpoints,
) -> None:
    light = paper_views.light
    is_lit, is_white = light.diffuse > 0, light.is_textureless > 0
    shares = [~is_lit, is_lit & ~is_white, is_lit & is_white]
    for share, expected in zip(shares, (0.25, 0.375, 0.375), strict=True):
        assert float(share.float().mean()) == pytest.approx(expected, abs=0.015)
    assert light.diffuse[is_lit].unique().tolist() == pytest.approx([0.9])
    assert light.ambient[is_lit].unique().tolist() == pytest.approx([0.1])
    for step, is_shaded in ((999, False), (1000, True)):
        part = torch.full((100,), step / 15_000)
        early = viewpoints.sample(PAPER, torch.arange(100), torch.zeros(100).long(), part)
        assert bool((early.light.diffuse > 0).any()) == is_shaded
