"""The ablation: each line changes one thing; the command, with tiny sizes."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine import recipes
from engine.evaluation.stage import ELEVATION_DEG
from engine.recipe import Recipe
from engine.studies import ablation
from engine.viewpoints import sample
from tests.engine.studies.fakes import Bench


def differences(first: Recipe, second: Recipe) -> list[str]:
    """Paths of the settings in which two recipes differ."""
    one, other = first.to_dict(), second.to_dict()
    found = []
    for name, value in one.items():
        if isinstance(value, dict):
            found += [f"{name}.{k}" for k, v in value.items() if v != other[name][k]]
        elif value != other[name]:
            found.append(name)
    return found


def test_each_line_changes_one_thing() -> None:
    usual = recipes.get("primitives")
    lines = ablation.variations(usual)
    assert [line.name for line in lines] == [
        "base",
        "+ view augmentation",
        "+ view-dependent prompts",
        "+ lighting",
        "+ textureless",
    ]
    steps = [differences(a.recipe, b.recipe) for a, b in itertools.pairwise(lines)]
    assert {path.split(".")[0] for path in steps[0]} == {"camera"}
    assert steps[1:] == [["distillation.prompt_views"], ["shading.shaded"], ["shading.textureless"]]
    # The recipe's own settings return line by line; its lights play no part where none is lit.
    third = lines[2].recipe
    assert all(path.startswith("shading.") for path in differences(third, usual))
    assert [line.recipe.needs_normals for line in lines] == [False] * 3 + [True] * 2
    assert len({line.recipe.digest() for line in lines}) == 5


def test_the_lights_are_the_paper_s() -> None:
    *_, lit, white = (line.recipe for line in ablation.variations(recipes.get("primitives")))
    assert (lit.shading.shaded, lit.shading.textureless) == (0.75, 0.0)
    assert white.shading.textureless == 0.5
    assert (lit.shading.ambient, lit.shading.diffuse) == (0.1, 0.9)
    assert lit.shading.albedo_until == pytest.approx(1000 / 15_000)


def test_the_base_sees_all_sides_from_one_height_and_says_nothing_of_them() -> None:
    base = ablation.variations(recipes.get("primitives"))[0].recipe
    assert base.distillation.prompt_views == "none"
    seeds = torch.arange(50)
    views = sample(base, seeds, torch.zeros_like(seeds), torch.zeros(50))
    assert torch.allclose(views.elevation_deg, torch.tensor(ELEVATION_DEG), atol=1e-3)
    histogram = torch.histc(views.azimuth_deg, bins=8, min=0, max=360)
    assert histogram.min() > 0
    positions = views.cameras.c2w[..., :3, 3]
    assert torch.allclose(positions.norm(dim=-1), torch.tensor(2.2), atol=1e-4)
    assert float(views.cameras.focal.std()) < 1e-4


def test_a_recipe_without_view_words_is_refused() -> None:
    usual = recipes.get("primitives")
    silent = replace(usual, distillation=replace(usual.distillation, prompt_views="none"))
    with pytest.raises(ValueError, match="expected a recipe with prompt_views, primitives has"):
        ablation.variations(silent)


def test_the_command(studies: Bench, tmp_path: Path) -> None:
    ablation.main([*studies.flags(tmp_path), "--only", "base", "--only", "+ textureless"])
    document = json.loads((tmp_path / "results.json").read_text())
    assert [row["name"] for row in document["results"]] == ["base", "+ textureless"]
    assert (document["split"], document["judge"]) == ("test", "j2")
    assert "| + textureless | 6 |" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "pictures.png").is_file()
