import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from engine import recipes, viewpoints
from engine.cameras import orbit_position
from engine.configs.shading import ShadingConfig
from engine.guidance.prompts import VIEWS, view_word
from engine.primitives import pictures
from engine.primitives.captions import colourless_forms, forms
from engine.primitives.grammar import COLOURS, Geometry, Spec, geometries, specs
from engine.primitives.pictures import Draws, Pictures, render, render_pictures, sample_draws
from engine.primitives.splits import Split, probabilities, specs_of
from engine.recipe import Recipe

MANY = 4000
EMBEDDED = [
    recipe for recipe in map(recipes.get, recipes.names()) if recipe.guidance == "primitives"
]
EMBEDDED = [recipe for recipe in EMBEDDED if recipe.guidance == "primitives"]
SHADED = ShadingConfig(shaded=0.75, albedo_until=0.0)


@pytest.fixture(scope="module")
def draws() -> Draws:
    return sample_draws(MANY, 11, "cpu")


@pytest.fixture(scope="module")
def words(draws: Draws) -> Pictures:
    """What is written over the draws; the pictures stay blank."""

    def blank(geometry: Geometry, draws: Draws, palettes: Tensor, rows: Tensor) -> Tensor:
        return torch.zeros(len(rows), 4, 64, 64, dtype=torch.uint8)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "_draw_some", blank)
        return render(draws)


def is_within(values: Tensor, bounds: tuple[float, float], slack: float = 0.0) -> bool:
    return bool(((values >= bounds[0] - slack) & (values <= bounds[1] + slack)).all())


def is_spread(values: Tensor, bounds: tuple[float, float]) -> bool:
    """Whether the values come near both ends of their range."""
    margin = 0.02 * (bounds[1] - bounds[0])
    return float(values.min()) < bounds[0] + margin and float(values.max()) > bounds[1] - margin


def fov(focal: Tensor, size: int) -> Tensor:
    return torch.rad2deg(2 * torch.atan(0.5 * size / focal))


def test_pictures_are_a_pure_function_of_the_seed() -> None:
    first = render_pictures(6, 3, size=16)
    torch.rand(5)
    again, other = render_pictures(6, 3, size=16), render_pictures(6, 4, size=16)
    assert first.rgba.shape == (6, 4, 16, 16)
    assert torch.equal(first.rgba, again.rgba)
    assert (first.captions, first.specs) == (again.captions, again.specs)
    assert not torch.equal(first.rgba, other.rgba)
    assert first.captions != other.captions


def test_the_global_random_stream_is_left_alone() -> None:
    before = torch.get_rng_state()
    sample_draws(4, 1, "cpu")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("split", ["train", "dev", "test", None])
def test_a_split_shows_all_its_geometries_and_its_own_scenes_only(split: Split | None) -> None:
    chosen = specs() if split is None else specs_of(split)
    found = sample_draws(2000, 5, "cpu", split)
    assert int(found.spec.max()) < len(chosen)
    drawn = [chosen[index] for index in found.spec.tolist()]
    assert {spec.geometry for spec in drawn} == {spec.geometry for spec in chosen}
    if split is None:
        # Also the scenes of the other splits.
        assert not set(drawn) <= set(specs_of("train")) | set(specs_of("dev"))


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


def test_scenes_are_drawn_as_often_as_the_splits_say(draws: Draws) -> None:
    chosen, weights = specs_of("train"), probabilities("train")
    count = Counter(chosen[index].geometry for index in draws.spec.tolist())
    expected = dict.fromkeys(geometries(), 0.0)
    for spec, weight in zip(chosen, weights, strict=True):
        expected[spec.geometry] += weight
    for geometry, share in expected.items():
        # Four standard deviations of a count of so many draws.
        slack = 4 * math.sqrt(share / MANY)
        assert count[geometry] / MANY == pytest.approx(share, abs=slack), geometry


def split_view(text: str) -> tuple[str, str]:
    """A caption without its view word, and the view word or nothing."""
    for view in VIEWS:
        if text.endswith(f", {view}"):
            return text.removesuffix(f", {view}"), view
    return text, ""


def test_captions_name_what_is_drawn_and_from_where(draws: Draws, words: Pictures) -> None:
    white = draws.lighting.textureless.tolist()
    for row, (text, spec) in enumerate(zip(words.captions, words.specs, strict=True)):
        assert spec == specs_of("train")[int(draws.spec[row])]
        said, view = split_view(text)
        if view:
            assert view == view_word(float(draws.azimuth_deg[row]), float(draws.elevation_deg[row]))
        assert said in forms(spec) or (white[row] == 1 and said in colourless_forms(spec.geometry))


def test_captions_vary_as_often_as_said(words: Pictures) -> None:
    said, views = zip(*map(split_view, words.captions), strict=True)
    assert sum(map(bool, views)) / MANY == pytest.approx(pictures.VIEW_SHARE, abs=0.02)
    named = [(text, spec) for text, spec in zip(said, words.specs, strict=True)]
    plain = [text in colourless_forms(spec.geometry) for text, spec in named]
    share = sum(plain) / float(words.is_textureless.sum())
    assert share == pytest.approx(pictures.COLOURLESS_SHARE, abs=0.07)
    place = Counter(
        forms(spec).index(text)
        for text, spec in named
        if text in forms(spec) and len(forms(spec)) == 5
    )
    total = sum(place.values())
    assert total > 500
    assert place[0] / total == pytest.approx(pictures.CANONICAL_SHARE, abs=0.05)
    for other in range(1, 5):
        share = (1 - pictures.CANONICAL_SHARE) / 4
        assert place[other] / total == pytest.approx(share, abs=0.04), other
    first = sum(text == colourless_forms(spec.geometry)[0] for text, spec in named)
    assert first / sum(plain) == pytest.approx(pictures.CANONICAL_SHARE, abs=0.1)


def test_a_form_is_the_canonical_one_or_any_other() -> None:
    found = tuple("abcde")
    draws = [k / 1000 for k in range(1000)]
    count = Counter(pictures._worded(found, draw) for draw in draws)
    assert count["a"] == 500
    assert all(count[other] == pytest.approx(125, abs=1) for other in "bcde")


def test_pictures_say_from_where_and_in_which_style_they_are(draws: Draws, words: Pictures) -> None:
    assert torch.equal(words.azimuth_deg, draws.azimuth_deg)
    assert torch.equal(words.elevation_deg, draws.elevation_deg)
    assert words.is_textureless.tolist() == (draws.lighting.textureless == 1).tolist()


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


def test_a_part_without_a_colour_wears_another_s() -> None:
    lamp, bed = Spec("lamp", ("red", "blue")), Spec("bed", ("red",))
    assert pictures.palette(lamp) == [COLOURS["red"], COLOURS["blue"], COLOURS["blue"]]
    assert pictures.palette(bed) == [COLOURS["red"]] * 3


def test_a_scene_wears_its_colours() -> None:
    found = sample_draws(40, 8, "cpu", size=24)
    light = replace(
        found.lighting,
        ambient=torch.ones(40),
        diffuse=torch.zeros(40),
        textureless=torch.zeros(40),
    )
    drawn = render(replace(found, lighting=light))
    shown = 0
    for rgba, spec in zip(drawn.rgba, drawn.specs, strict=True):
        colour = rgba[:3, rgba[3] == 255].float().T / 255
        assert len(colour) > 4
        named = torch.tensor(pictures.palette(spec))
        away = (colour[:, None] - named).abs().amax(dim=-1)
        # Most pixels show one of the colours, the others two or three of them mixed.
        assert float((away.amin(dim=1) < 0.01).float().mean()) > 0.5, spec
        assert bool((colour <= named.amax(dim=0) + 0.01).all()), spec
        assert bool((colour >= named.amin(dim=0) - 0.01).all()), spec
        shown += len(away.argmin(dim=1).unique()) == len(set(spec.colours))
    # A part may be hidden from some sides, but not from most.
    assert shown > 30


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
        (camera.area_elevation_deg, pictures.ELEVATION_DEG),
        (camera.radius, pictures.RADIUS),
        (camera.fov_y_deg, pictures.FOV_Y_DEG),
    ):
        assert seen[0] <= mine[0] <= mine[1] <= seen[1]
    assert camera.lens == "field_of_view"
    assert camera.position_jitter <= pictures.POSITION_JITTER
    assert camera.target_jitter <= pictures.TARGET_SPREAD
    assert camera.up_jitter <= pictures.UP_SPREAD
    assert shading.light_distance == pictures.LIGHT_DISTANCE
    assert shading.light_spread == pictures.LIGHT_SPREAD
    assert not shading.soft
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
