import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from engine import recipes, viewpoints
from engine.cameras import orbit_position
from engine.guidance.prompts import VIEWS, view_word
from engine.primitives import pictures
from engine.primitives.grammar import (
    ACCENTS,
    KINDS,
    Split,
    caption,
    colourless_caption,
    parse,
    specs_of,
)
from engine.primitives.pictures import Draws, render, render_pictures, sample_draws
from engine.recipe import Recipe, ShadingConfig

MANY = 4000
EMBEDDED = [recipes.get(name) for name in recipes.names()]
EMBEDDED = [recipe for recipe in EMBEDDED if recipe.guidance == "primitives"]
SHADED = ShadingConfig(shaded=0.75, albedo_until=0.0)


@pytest.fixture(scope="module")
def draws() -> Draws:
    return sample_draws(MANY, 11, "cpu")


def is_within(values: Tensor, bounds: tuple[float, float], slack: float = 0.0) -> bool:
    return bool(((values >= bounds[0] - slack) & (values <= bounds[1] + slack)).all())


def is_spread(values: Tensor, bounds: tuple[float, float]) -> bool:
    """Whether the values come near both ends of their range."""
    margin = 0.02 * (bounds[1] - bounds[0])
    return float(values.min()) < bounds[0] + margin and float(values.max()) > bounds[1] - margin


def fov(focal: Tensor, size: int) -> Tensor:
    return torch.rad2deg(2 * torch.atan(0.5 * size / focal))


def test_pictures_are_a_pure_function_of_the_seed() -> None:
    first = render_pictures(12, 3, size=16)
    torch.rand(5)
    again, other = render_pictures(12, 3, size=16), render_pictures(12, 4, size=16)
    assert first.rgba.shape == (12, 4, 16, 16)
    assert torch.equal(first.rgba, again.rgba)
    assert (first.captions, first.specs) == (again.captions, again.specs)
    assert not torch.equal(first.rgba, other.rgba)
    assert first.captions != other.captions


def test_the_global_random_stream_is_left_alone() -> None:
    before = torch.get_rng_state()
    sample_draws(4, 1, "cpu")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_a_split_shows_its_own_objects_only(split: Split) -> None:
    found = sample_draws(500, 5, "cpu", split)
    chosen = [specs_of(split)[index] for index in found.spec.tolist()]
    assert {spec.kind for spec in chosen} == {spec.kind for spec in specs_of(split)}
    assert set(chosen) <= set(specs_of(split))


def test_angles_distances_and_lenses_fill_their_ranges(draws: Draws) -> None:
    assert is_within(draws.azimuth_deg, (0.0, 360.0))
    assert is_spread(draws.azimuth_deg, (0.0, 360.0))
    assert is_within(draws.elevation_deg, pictures.ELEVATION_DEG, 0.05)
    assert is_spread(draws.elevation_deg, pictures.ELEVATION_DEG)
    angles = fov(draws.cameras.focal, draws.cameras.size)
    assert is_within(angles, pictures.FOV_Y_DEG, 1e-3)
    assert is_spread(angles, pictures.FOV_Y_DEG)
    assert is_within(draws.proportions, (0.0, 1.0))
    # Where the radius was drawn: along the way of the camera's angles, but for the jitter.
    way = orbit_position(draws.azimuth_deg, draws.elevation_deg, torch.ones(MANY))
    radius = (draws.cameras.c2w[:, :3, 3] * way).sum(-1)
    slack = pictures.POSITION_JITTER * math.sqrt(3)
    assert is_within(radius, pictures.RADIUS, slack)
    assert is_spread(radius, pictures.RADIUS)


def test_half_of_the_elevations_are_uniform_in_angle_and_half_in_area(draws: Draws) -> None:
    low, high = pictures.ELEVATION_DEG
    sines = [math.sin(math.radians(angle)) for angle in (low, high)]
    for angle in (0.0, 15.0, 30.0, 45.0, 60.0, 75.0):
        by_angle = (angle - low) / (high - low)
        by_area = (math.sin(math.radians(angle)) - sines[0]) / (sines[1] - sines[0])
        share = float((draws.elevation_deg < angle).float().mean())
        assert share == pytest.approx(0.5 * (by_angle + by_area), abs=0.025)


def test_cameras_are_jittered_by_their_measure(draws: Draws) -> None:
    c2w = draws.cameras.c2w
    back, position = c2w[:, :3, 2], c2w[:, :3, 3]
    miss = position - (position * back).sum(-1, keepdim=True) * back
    # Of the target's three components the two across the axis show.
    spread = float(miss.square().sum(-1).mean() / 2) ** 0.5
    assert spread == pytest.approx(pictures.TARGET_SPREAD, rel=0.05)
    # Away from the pole the picture's X axis is level, but for the jitter of "up".
    level = draws.elevation_deg.abs() < 10
    assert float(c2w[level, 2, 0].std()) == pytest.approx(pictures.UP_SPREAD, rel=0.15)


def test_the_light_is_near_the_camera_and_of_three_styles(draws: Draws) -> None:
    light = draws.lighting
    distance = light.position.norm(dim=-1)
    assert is_within(distance, pictures.LIGHT_DISTANCE, 1e-4)
    assert is_spread(distance, pictures.LIGHT_DISTANCE)
    is_albedo = light.ambient == 1
    is_hard = (light.ambient - pictures.HARD_AMBIENT).abs() < 1e-6
    is_soft = ~is_albedo & ~is_hard
    assert float(is_albedo.float().mean()) == pytest.approx(pictures.ALBEDO_SHARE, abs=0.03)
    assert float(is_hard.sum() / is_soft.sum()) == pytest.approx(1.0, abs=0.15)
    assert is_within(light.ambient[is_soft], pictures.SOFT_AMBIENT, 1e-6)
    assert is_spread(light.ambient[is_soft], pictures.SOFT_AMBIENT)
    torch.testing.assert_close(light.ambient + light.diffuse, torch.ones(MANY))


def test_textureless_pictures_are_lit_and_as_many_as_said(draws: Draws) -> None:
    is_white = draws.lighting.textureless > 0
    assert set(draws.lighting.textureless.tolist()) == {0.0, 1.0}
    assert float(is_white.float().mean()) == pytest.approx(pictures.TEXTURELESS_SHARE, abs=0.02)
    assert float(draws.lighting.ambient[is_white].max()) < 1


def test_kinds_are_drawn_evenly_and_two_colours_more_often_than_one(draws: Draws) -> None:
    chosen = [specs_of("train")[index] for index in draws.spec.tolist()]
    count = Counter(spec.kind for spec in chosen)
    two = [kind for kind in KINDS if ACCENTS[kind]]
    # Weight 1 a kind of two parts, ONE_PIECE_WEIGHT the others.
    total = len(two) + pictures.ONE_PIECE_WEIGHT * (len(KINDS) - len(two))
    for kind in KINDS:
        weight = 1.0 if ACCENTS[kind] else pictures.ONE_PIECE_WEIGHT
        assert count[kind] / MANY == pytest.approx(weight / total, abs=0.013), kind
    single = [len(spec.colours) == 1 for spec in chosen if ACCENTS[spec.kind]]
    assert sum(single) / len(single) == pytest.approx(pictures.ONE_COLOUR_SHARE, abs=0.025)


def test_captions_name_what_is_drawn_and_from_where(
    draws: Draws, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Words only: the pictures stay blank.
    def blank(kind: str, draws: Draws, palettes: Tensor, rows: Tensor) -> Tensor:
        return torch.zeros(len(rows), 4, 64, 64, dtype=torch.uint8)

    monkeypatch.setattr(pictures, "_draw_some", blank)
    found = render(draws)
    plain = 0
    for row, (words, spec) in enumerate(zip(found.captions, found.specs, strict=True)):
        assert spec == specs_of("train")[int(draws.spec[row])]
        view = view_word(float(draws.azimuth_deg[row]), float(draws.elevation_deg[row]))
        words, comma, said = words.rpartition(", ")
        assert said == view
        if words == colourless_caption(spec):
            assert float(draws.lighting.textureless[row]) == 1
            plain += 1
        else:
            assert words == caption(spec)
            assert parse(words + comma + said) == spec
    assert plain / float(draws.lighting.textureless.sum()) == pytest.approx(0.75, abs=0.07)


def test_view_words_say_where_the_camera_stands(draws: Draws) -> None:
    position = draws.cameras.c2w[:, :3, 3].tolist()
    azimuth, elevation = draws.azimuth_deg.tolist(), draws.elevation_deg.tolist()
    seen = Counter()
    for (x, y, z), a, e in zip(position, azimuth, elevation, strict=True):
        word = view_word(a, e)
        # The jitter moves a camera by at most 0.18 of 1.8: 6 degrees.
        rise = math.degrees(math.atan2(z, math.hypot(x, y)))
        if abs(rise - 60) < 7:
            continue
        seen[word] += 1
        if rise > 60:
            assert word == "overhead view"
        elif x > abs(y) + 0.4:
            assert word == "front view"
        elif -x > abs(y) + 0.4:
            assert word == "back view"
        elif abs(y) > abs(x) + 0.4:
            assert word == "side view"
    assert set(seen) == set(VIEWS)
    assert min(seen.values()) > 200


def test_an_object_wears_its_colours() -> None:
    found = sample_draws(60, 8, "cpu", size=24)
    light = replace(
        found.lighting,
        ambient=torch.ones(60),
        diffuse=torch.zeros(60),
        textureless=torch.zeros(60),
    )
    drawn = render(replace(found, lighting=light))
    for rgba, spec in zip(drawn.rgba, drawn.specs, strict=True):
        colour = rgba[:3, rgba[3] == 255].float().T / 255
        assert len(colour) > 4
        a, b = torch.tensor(pictures.palette(spec))
        # On the segment between the two: a pixel may show both parts.
        along = (b - a) if bool((a != b).any()) else torch.ones(3)
        share = ((colour - a) @ along / along.square().sum()).clamp(0, 1)[:, None]
        assert float((colour - torch.lerp(a, b, share)).abs().max()) < 0.01


def test_a_textureless_object_is_grey() -> None:
    found = sample_draws(20, 8, "cpu", size=16)
    white = replace(found.lighting, textureless=torch.ones(20))
    rgba = render(replace(found, lighting=white)).rgba.float()
    assert float((rgba[:, :3] - rgba[:, :1]).abs().max()) <= 1
    assert float(rgba[:, 3].max()) == 255


def test_there_are_embedded_recipes_to_hold() -> None:
    assert {"primitives", "primitives_cpu"} <= {recipe.name for recipe in EMBEDDED}


@pytest.mark.parametrize("recipe", EMBEDDED, ids=lambda recipe: recipe.name)
def test_a_recipe_s_settings_lie_inside_what_the_teacher_has_seen(recipe: Recipe) -> None:
    camera, shading = recipe.camera, recipe.shading
    for mine, seen in (
        (camera.elevation_deg, pictures.ELEVATION_DEG),
        (camera.radius, pictures.RADIUS),
        (camera.fov_y_deg, pictures.FOV_Y_DEG),
    ):
        assert seen[0] <= mine[0] <= mine[1] <= seen[1]
    assert camera.position_jitter <= pictures.POSITION_JITTER
    assert camera.target_jitter <= pictures.TARGET_SPREAD
    assert camera.up_jitter <= pictures.UP_SPREAD
    low, high = pictures.SOFT_AMBIENT
    assert low <= shading.ambient <= high or shading.ambient == pictures.HARD_AMBIENT
    assert shading.ambient + shading.diffuse == pytest.approx(1)


@pytest.mark.parametrize("shading", [None, SHADED], ids=["own", "shaded"])
@pytest.mark.parametrize("recipe", EMBEDDED, ids=lambda recipe: recipe.name)
def test_a_recipe_s_views_lie_inside_what_the_teacher_has_seen(
    recipe: Recipe, shading: ShadingConfig | None
) -> None:
    recipe = replace(recipe, shading=shading or recipe.shading)
    seed = torch.arange(MANY // recipe.views)
    views = viewpoints.sample(recipe, seed, seed, torch.full(seed.shape, 0.5))
    angles = fov(views.cameras.focal, views.cameras.size)
    assert is_within(angles, pictures.FOV_Y_DEG, 1e-3)
    position = views.cameras.c2w[..., :3, 3].flatten(0, 1)
    slack = pictures.POSITION_JITTER * math.sqrt(3)
    assert is_within(position.norm(dim=-1), pictures.RADIUS, slack)
    light = views.light
    assert is_within(light.position.norm(dim=-1), pictures.LIGHT_DISTANCE, 1e-4)
    torch.testing.assert_close(light.ambient + light.diffuse, torch.ones_like(light.ambient))
    is_soft = (light.ambient >= pictures.SOFT_AMBIENT[0]) & (
        light.ambient <= pictures.SOFT_AMBIENT[1]
    )
    is_hard = light.ambient == pictures.HARD_AMBIENT
    assert bool((is_soft | is_hard | (light.ambient == 1)).all())
    assert bool((light.is_textureless[light.ambient == 1] == 0).all())
    assert bool((light.diffuse > 0).any()) == (recipe.shading.shaded > 0)


def test_a_recipe_s_light_is_as_near_the_camera_as_the_teacher_s(draws: Draws) -> None:
    recipe = replace(recipes.get("primitives"), views=1)
    seed = torch.arange(MANY)
    views = viewpoints.sample(recipe, seed, seed, torch.full((MANY,), 0.5))

    def cosine(light: Tensor, c2w: Tensor) -> Tensor:
        return torch.cosine_similarity(light, c2w[..., :3, 3], dim=-1).flatten()

    mine = cosine(views.light.position, views.cameras.c2w).quantile(torch.tensor([0.1, 0.5, 0.9]))
    seen = cosine(draws.lighting.position, draws.cameras.c2w).quantile(
        torch.tensor([0.1, 0.5, 0.9])
    )
    torch.testing.assert_close(mine, seen, atol=0.03, rtol=0)
