"""The peer's settings in our world: what is its own, what is the world's; and the command."""

import json
from pathlib import Path

import pytest

from engine import recipes
from engine.configs.fields import HashGridConfig
from engine.fields.hash_grid import HashGrid
from engine.studies import peers
from engine.studies.order import chosen
from tests.engine.studies.fakes import Bench

OURS, FAST, PEER = (recipes.get(n) for n in ("primitives", "primitives_fast", "threestudio_if"))
FOUND = {v.name: v.recipe for v in peers.variations(OURS, FAST, PEER)}


def test_each_recipe_and_its_evaluations() -> None:
    evaluations = {n: r.iterations * r.evaluations_a_step for n, r in FOUND.items()}
    assert evaluations == {
        "ours": 1600,
        "ours, fast": 400,
        "threestudio, dense grid, as many evaluations": 1600,
        "threestudio, dense grid, 10000 steps": 10_000,
        "threestudio, hash grid, as many evaluations": 1600,
        "threestudio, hash grid, 10000 steps": 10_000,
    }
    assert (FOUND["ours"], FOUND["ours, fast"]) == (OURS, FAST)


@pytest.mark.parametrize("name", [name for name in FOUND if name.startswith("threestudio")])
def test_its_settings_are_its_own_and_the_world_is_ours(name: str) -> None:
    recipe = FOUND[name]
    for part in ("views", "shading", "background", "distillation", "losses", "optimiser"):
        assert getattr(recipe, part) == getattr(PEER, part), part
    for part in ("guidance", "camera", "march", "export", "render_size"):
        assert getattr(recipe, part) == getattr(OURS, part), part
    # Elevations are the same in both, but for its peculiar draw by area.
    assert recipe.camera.elevation_deg == PEER.camera.elevation_deg
    assert ("dense" in name) == (recipe.field == OURS.field)


def test_its_hash_grid_keeps_its_cells() -> None:
    field = FOUND["threestudio, hash grid, 10000 steps"].field
    assert isinstance(field, HashGridConfig)
    assert isinstance(PEER.field, HashGridConfig)
    mine, its = HashGrid(field), HashGrid(PEER.field)
    assert field.bound == 1.0
    for n, m in zip(mine.resolutions(), its.resolutions(), strict=True):
        # Rounded to whole cells a side.
        assert n / mine.bound == pytest.approx(m / its.bound, abs=0.75)
    assert (field.log2_size, field.num_levels, field.albedo) == (19, 16, "shifted")


def test_what_runs_unasked_needs_no_kernels() -> None:
    names = [v.name for v in chosen(peers.variations(OURS, FAST, PEER), peers.USUAL)]
    assert names == ["ours", "ours, fast", "threestudio, dense grid, as many evaluations"]


def test_the_command(studies: Bench, tmp_path: Path) -> None:
    peers.main([*studies.flags(tmp_path), "--fast", "smoke"])
    document = json.loads((tmp_path / "results.json").read_text())
    assert [row["evaluations"] for row in document["results"]] == [6, 6, 6]
    assert [row["recipe"]["name"] for row in document["results"]][2] == "threestudio_if"
    assert [made.iterations for made in studies.gangs] == [6, 6, 6]
