import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, fields, is_dataclass, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import recipes
from engine.configs.cameras import CameraConfig
from engine.configs.distillation import DistillationConfig
from engine.configs.export import ExportConfig
from engine.configs.fields import DenseGridConfig, HashGridConfig, MipMlpConfig
from engine.configs.losses import LossConfig
from engine.configs.march import MarchConfig
from engine.configs.optimiser import OptimiserConfig
from engine.configs.shading import ShadingConfig
from engine.recipe import Recipe

EXAMPLES = {
    field.kind: replace(
        recipes.get("smoke"),
        field=field,
        # Perp-Neg, which a test switches on, wants them blended.
        distillation=DistillationConfig(prompt_views="interpolated"),
    )
    for field in (DenseGridConfig(), HashGridConfig(), MipMlpConfig())
}
"""A whole recipe for each kind of field."""

probabilities = st.floats(0, 1)
weights = st.floats(0, 100)
rates = st.floats(1e-6, 1)


def spans(low: float, high: float) -> st.SearchStrategy[list[float]]:
    """Pairs in ascending order."""
    return st.lists(st.floats(low, high), min_size=2, max_size=2).map(sorted)


def pairs(values: st.SearchStrategy[float]) -> st.SearchStrategy[list[float]]:
    return st.lists(values, min_size=2, max_size=2)


dense_grids = st.fixed_dictionaries(
    {
        "kind": st.just("dense_grid"),
        "resolutions": st.lists(st.integers(2, 64), min_size=1, max_size=3, unique=True),
    },
    optional={"density_gain": weights, "blob_density": weights, "blob_radius": rates},
)
hash_grids = st.fixed_dictionaries(
    {
        "kind": st.just("hash_grid"),
        "num_levels": st.integers(2, 16),
        "base_resolution": st.integers(2, 16),
        "finest_resolution": st.integers(17, 512),
    },
    optional={"features": st.integers(1, 4), "hidden": st.integers(1, 64)},
)
mip_mlps = st.fixed_dictionaries(
    {"kind": st.just("mip_mlp"), "bound": st.floats(0.5, 2)},
    optional={"blur": spans(0, 0.1), "normals": st.sampled_from(["analytic", "differences"])},
)
descriptions = st.fixed_dictionaries(
    {
        "name": st.text(max_size=9),
        "summary": st.text(max_size=9),
        "guidance": st.text(max_size=9),
        "iterations": st.integers(1, 10_000),
        "views": st.integers(1, 8),
        "render_size": st.integers(8, 64),
        "field": st.one_of(dense_grids, hash_grids, mip_mlps),
    },
    optional={
        "num_slots": st.integers(1, 64),
        "camera": st.fixed_dictionaries(
            {"elevation_deg": spans(-90, 90), "radius": spans(0.1, 9), "fov_y_deg": spans(1, 170)}
        ),
        "shading": st.fixed_dictionaries({"shaded": probabilities, "textureless": probabilities}),
        "march": st.fixed_dictionaries({"num_samples": st.integers(1, 99)}),
        "distillation": st.fixed_dictionaries(
            {
                "scale": weights,
                "form": st.sampled_from(["interpolate", "extrapolate"]),
                "t_max": pairs(st.floats(0.1, 0.99)),
                "weighting": st.sampled_from(["sigma_squared", "uniform"]),
                "gradient": st.sampled_from(["score", "full"]),
            }
        ),
        "losses": st.fixed_dictionaries({"opacity": weights, "entropy": pairs(weights)}),
        "optimiser": st.fixed_dictionaries(
            {"lr": pairs(rates), "betas": pairs(st.floats(0, 0.99))}
        ),
        "export": st.fixed_dictionaries({"num_views": st.sampled_from([4, 8, 12])}),
    },
)
"""What a recipe's JSON may hold; what is left out has its default."""


def is_part(part: Any, whole: Any) -> bool:
    """Whether every setting of `part` is in `whole`."""
    if isinstance(part, dict):
        return all(key in whole and is_part(value, whole[key]) for key, value in part.items())
    return part == whole


@given(descriptions)
def test_a_recipe_survives_json(description: dict[str, Any]) -> None:
    recipe = Recipe.from_dict(description)
    data = json.loads(json.dumps(recipe.to_dict()))
    assert is_part(description, data)
    again = Recipe.from_dict(data)
    assert again == recipe
    assert hash(again) == hash(recipe)
    assert again.digest() == recipe.digest()


@given(st.one_of(dense_grids, hash_grids, mip_mlps))
def test_a_field_s_configuration_survives_json_alone(description: dict[str, Any]) -> None:
    field = Recipe.field_from_dict(description)
    data = json.loads(json.dumps(asdict(field)))
    assert is_part(description, data)
    assert Recipe.field_from_dict(data) == field


def test_a_recipe_s_parts_come_back_as_what_they_were() -> None:
    recipe = EXAMPLES["hash_grid"]
    again = Recipe.from_dict(recipe.to_dict())
    assert isinstance(again.field, HashGridConfig)
    assert isinstance(again.camera.radius, tuple)
    assert type(again.march) is MarchConfig


@given(descriptions, st.integers(1, 99), st.text(max_size=9), st.text(max_size=9))
def test_slots_summary_and_guidance_are_not_in_the_digest(
    description: dict[str, Any], num_slots: int, summary: str, guidance: str
) -> None:
    recipe = Recipe.from_dict(description)
    other = replace(recipe, num_slots=num_slots, summary=summary, guidance=guidance)
    assert other.digest() == recipe.digest()


@given(descriptions, descriptions)
def test_recipes_that_differ_have_different_digests(
    description: dict[str, Any], another: dict[str, Any]
) -> None:
    one, other = Recipe.from_dict(description), Recipe.from_dict(another)
    other = replace(other, num_slots=one.num_slots, summary=one.summary, guidance=one.guidance)
    assert (one == other) == (one.digest() == other.digest())


def test_the_digest_is_a_sha256_and_does_not_depend_on_the_process() -> None:
    digest = recipes.get("smoke").digest()
    assert len(digest) == 64
    assert set(digest) <= set("0123456789abcdef")
    assert recipes.get("smoke").digest() == digest


def leaves(config: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Paths of all settings of a tree of configurations."""
    found = []
    for f in fields(config):
        value = getattr(config, f.name)
        inner = leaves(value, (*path, f.name)) if is_dataclass(value) else [(*path, f.name)]
        found.extend(inner)
    return found


def nudged(value: Any, hint: Any = None) -> Any:
    """Another value of the same kind that is just as valid."""
    if get_origin(hint) is Literal:
        return next(choice for choice in get_args(hint) if choice != value)
    if isinstance(value, str):
        return value + "'"
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return (nudged(value[0]), *value[1:])
    if isinstance(value, float):
        return value * 0.99 if value else 1e-3
    return value * 2 or 1


def with_nudge(config: Any, path: tuple[str, ...]) -> Any:
    value = getattr(config, path[0])
    hint = get_type_hints(type(config))[path[0]]
    new = with_nudge(value, path[1:]) if path[1:] else nudged(value, hint)
    return replace(config, **{path[0]: new})


SETTINGS = [
    (name, path)
    for name, example in EXAMPLES.items()
    for path in leaves(example)
    if path[-1] != "kind"
]


@pytest.mark.parametrize(
    ("name", "path"), SETTINGS, ids=lambda v: v if isinstance(v, str) else ".".join(v)
)
def test_every_setting_is_in_the_digest_or_known_not_to_be(
    name: str, path: tuple[str, ...]
) -> None:
    recipe = EXAMPLES[name]
    other = with_nudge(recipe, path)
    assert other != recipe
    is_left_out = path in {("num_slots",), ("summary",), ("guidance",)}
    assert (other.digest() == recipe.digest()) == is_left_out


def smoke(**changes: Any) -> Callable[[], Recipe]:
    return lambda: replace(recipes.get("smoke"), **changes)


BAD: dict[str, Callable[[], Any]] = {
    "DenseGridConfig": lambda: DenseGridConfig(resolutions=(16, 1)),
    "HashGridConfig levels": lambda: HashGridConfig(num_levels=1),
    "DenseGridConfig bound": lambda: DenseGridConfig(bound=0.0),
    "DenseGridConfig twice": lambda: DenseGridConfig(resolutions=(8, 8)),
    "HashGridConfig bound": lambda: HashGridConfig(bound=-1.0),
    "HashGridConfig start": lambda: HashGridConfig(num_levels=4, start_level=5),
    "HashGridConfig from": lambda: HashGridConfig(level_from=1.5),
    "HashGridConfig every": lambda: HashGridConfig(level_every=0.0),
    "HashGridConfig step": lambda: HashGridConfig(normal_step=0.0),
    "MipMlpConfig bound": lambda: MipMlpConfig(bound=0.0),
    "MipMlpConfig frequencies": lambda: MipMlpConfig(num_frequencies=0),
    "MipMlpConfig blur": lambda: MipMlpConfig(blur=(0.1, -0.1)),
    "MipMlpConfig until": lambda: MipMlpConfig(blur_until=0.0),
    "MipMlpConfig blocks": lambda: MipMlpConfig(num_blocks=0),
    "MipMlpConfig step": lambda: MipMlpConfig(normal_step=0.0),
    "HashGridConfig resolutions": lambda: HashGridConfig(base_resolution=64, finest_resolution=64),
    "CameraConfig elevation": lambda: CameraConfig(elevation_deg=(30.0, 10.0)),
    "CameraConfig radius": lambda: CameraConfig(radius=(0.0, 2.0)),
    "CameraConfig radius order": lambda: CameraConfig(radius=(3.0, 2.0)),
    "CameraConfig fov": lambda: CameraConfig(fov_y_deg=(40.0, 180.0)),
    "CameraConfig area": lambda: CameraConfig(area_elevation_deg=(-100.0, 10.0)),
    "CameraConfig focal": lambda: CameraConfig(focal=(0.0, 1.0)),
    "CameraConfig jitter": lambda: CameraConfig(up_jitter=-0.1),
    "CameraConfig nan": lambda: CameraConfig(radius=(float("nan"), 2.0)),
    "ShadingConfig shaded": lambda: ShadingConfig(shaded=1.5),
    "ShadingConfig textureless": lambda: ShadingConfig(textureless=-0.1),
    "ShadingConfig until": lambda: ShadingConfig(albedo_until=2.0),
    "ShadingConfig ambient": lambda: ShadingConfig(ambient=-0.1),
    "ShadingConfig distance": lambda: ShadingConfig(light_distance=(0.0, 1.0)),
    "ShadingConfig spread": lambda: ShadingConfig(light_spread=-1.0),
    "MarchConfig samples": lambda: MarchConfig(num_samples=0),
    "MarchConfig bins": lambda: MarchConfig(num_bins=0),
    "MarchConfig odd": lambda: MarchConfig(grid_size=33),
    "MarchConfig refresh": lambda: MarchConfig(grid_size=8, refresh=7),
    "MarchConfig no refresh": lambda: MarchConfig(refresh=0),
    "MarchConfig no grid": lambda: MarchConfig(grid_size=0),
    "DistillationConfig t_min": lambda: DistillationConfig(t_min=0.0),
    "DistillationConfig t_min above": lambda: DistillationConfig(t_min=0.6, t_max=(0.9, 0.5)),
    "DistillationConfig t_max": lambda: DistillationConfig(t_max=(1.0, 0.5)),
    "LossConfig opacity": lambda: LossConfig(opacity=-1.0),
    "LossConfig entropy": lambda: LossConfig(entropy=(0.0, -1.0)),
    "LossConfig orientation": lambda: LossConfig(orientation=(-1.0, 0.0)),
    "LossConfig distortion": lambda: LossConfig(distortion=-1.0),
    "LossConfig until": lambda: LossConfig(orientation_until=0.0),
    "OptimiserConfig warmup": lambda: OptimiserConfig(warmup=1.0),
    "OptimiserConfig warmup lr": lambda: OptimiserConfig(warmup_lr=-1e-9),
    "OptimiserConfig background": lambda: OptimiserConfig(background_rate=-0.1),
    "OptimiserConfig lr": lambda: OptimiserConfig(lr=(0.0, 0.1)),
    "OptimiserConfig betas": lambda: OptimiserConfig(betas=(0.9, 1.0)),
    "ExportConfig views": lambda: ExportConfig(num_views=6),
    "ExportConfig no views": lambda: ExportConfig(num_views=0),
    "ExportConfig few views": lambda: ExportConfig(cameras="sphere", num_views=3),
    "ExportConfig smoothing": lambda: ExportConfig(smoothing=-1),
    "ExportConfig faces": lambda: ExportConfig(max_faces=0),
    "ExportConfig texture": lambda: ExportConfig(texture_size=8),
    "ExportConfig large texture": lambda: ExportConfig(texture_size=10_000),
    "ExportConfig size": lambda: ExportConfig(view_size=4),
    "ExportConfig radius": lambda: ExportConfig(view_radius=0.0),
    "ExportConfig fov": lambda: ExportConfig(view_fov_deg=0.0),
    "ExportConfig wide fov": lambda: ExportConfig(view_fov_deg=180.0),
    "ExportConfig level": lambda: ExportConfig(density_level=0.0),
    "Recipe iterations": smoke(iterations=0),
    "Recipe views": smoke(views=0),
    "Recipe render_size": smoke(render_size=4),
    "Recipe slots": smoke(num_slots=0),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_value_is_refused_by_the_configuration_s_name(what: str) -> None:
    owner = what.split()[0]
    with pytest.raises(ValueError, match=rf"^{owner}: expected .*; got {owner}\(.*\)$"):
        BAD[what]()


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("form", "interpolate or extrapolate"),
        ("weighting", "sigma_squared or uniform"),
        ("gradient", "score or full"),
        ("t_schedule", "random or sqrt"),
        ("prompt_views", "nearest or interpolated or none"),
    ],
)
def test_a_word_that_is_no_choice_is_refused_without_a_type_checker(name: str, known: str) -> None:
    program = f"from engine.recipe import DistillationConfig; DistillationConfig({name}='odd')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"ValueError: DistillationConfig: expected {name} to be {known}; got" in done.stderr


def test_an_unknown_setting_is_named() -> None:
    data = recipes.get("smoke").to_dict()
    data["march"]["step_size"] = 0.1
    data["march"]["jump"] = True
    with pytest.raises(
        ValueError, match=r"MarchConfig: unknown setting jump, step_size; it is mistyped"
    ):
        Recipe.from_dict(data)


def test_a_missing_setting_is_named() -> None:
    data = recipes.get("smoke").to_dict()
    del data["iterations"]
    with pytest.raises(ValueError, match="Recipe: missing setting iterations"):
        Recipe.from_dict(data)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("iterations", "many", "Recipe.iterations: expected int, got 'many'"),
        ("iterations", 2.5, "Recipe.iterations: expected int, got 2.5"),
        ("iterations", True, "Recipe.iterations: expected int, got True"),
        ("name", 3, "Recipe.name: expected str, got 3"),
        ("march", 3, "Recipe.march: expected MarchConfig, got 3"),
        ("camera.radius", [1.0], "CameraConfig.radius: expected 2 values, got"),
        ("camera.radius", "12", "CameraConfig.radius: expected"),
        ("camera.radius", [1.0, "2"], "CameraConfig.radius: expected float, got '2'"),
        ("field.resolutions", [4, 9.5], "DenseGridConfig.resolutions: expected int, got 9.5"),
        ("shading.soft", 1, "ShadingConfig.soft: expected bool, got 1"),
        ("distillation.form", "odd", "DistillationConfig.form: expected Literal"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(path: str, value: Any, message: str) -> None:
    data = recipes.get("smoke").to_dict()
    *parts, name = path.split(".")
    owner = data
    for part in parts:
        owner = owner[part]
    owner[name] = value
    with pytest.raises(ValueError, match=re.escape(message)):
        Recipe.from_dict(data)


def test_a_whole_number_stands_for_a_float_and_has_its_digest() -> None:
    data = recipes.get("smoke").to_dict()
    data["distillation"]["scale"], data["camera"]["radius"] = 20, [2, 2.6]
    whole = Recipe.from_dict(data)
    data["distillation"]["scale"], data["camera"]["radius"] = 20.0, [2.0, 2.6]
    assert whole.digest() == Recipe.from_dict(data).digest()


def test_an_unknown_kind_of_field_is_named() -> None:
    data = recipes.get("smoke").to_dict()
    data["field"]["kind"] = "point_cloud"
    with pytest.raises(ValueError, match="recipe: unknown kind 'point_cloud'"):
        Recipe.from_dict(data)
    with pytest.raises(ValueError, match="recipe: unknown kind 'point_cloud'"):
        Recipe.field_from_dict(data["field"])


def test_a_recipe_cannot_be_changed_in_place() -> None:
    with pytest.raises(AttributeError):
        recipes.get("smoke").iterations = 7  # type: ignore[misc]
