"""Assets of the benchmark: made once, read after, never mixed with another recipe's."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from engine import recipes
from engine.evaluation import specimens
from engine.evaluation.specimens import claim, make
from engine.gang import Gang, SceneRequest
from engine.guidance.pixel import PixelGuidance
from engine.primitives.grammar import Spec
from engine.recipe import Recipe
from tests.engine.fakes import DiscGuidance

SPECS = [Spec("ball", ("red",)), Spec("ball", ("blue",))]
CPU = [torch.device("cpu")]


@pytest.fixture
def recipe(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.setattr(PixelGuidance, "load", lambda *_, **__: DiscGuidance(size=16))
    return dataclasses.replace(recipes.get("smoke"), guidance=str(tiny_weights))


def test_every_prompt_under_every_seed(recipe: Recipe, tmp_path: Path) -> None:
    claim(recipe, SPECS, tmp_path)
    found = make(recipe, SPECS, 2, tmp_path, 3, CPU)
    assert [(s.key, s.spec, s.seed) for s in found] == [
        ("000-0", SPECS[0], 0),
        ("000-1", SPECS[0], 1),
        ("001-0", SPECS[1], 0),
        ("001-1", SPECS[1], 1),
    ]
    assert {(s.status, s.iterations) for s in found} == {("ok", 6)}
    assert all(s.seconds > 0 and s.scene is not None for s in found)
    said = json.loads((tmp_path / "scenes/001-0.json").read_text())
    assert (said["prompt"], said["seed"]) == ("a blue ball", 0)


def test_two_devices_share_the_work_and_change_nothing(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    gangs: list[tuple[int, int]] = []
    optimise = specimens._optimise

    def watched(gang: Gang, requests: list[SceneRequest], folder: Path) -> None:
        gangs.append((gang.num_slots, len(requests)))
        optimise(gang, requests, folder)

    monkeypatch.setattr(specimens, "_optimise", watched)
    for out, devices in ((alone, CPU), (shared, CPU * 2)):
        claim(recipe, SPECS, out)
        make(recipe, SPECS, 2, out, 3, devices)
    assert gangs == [(3, 4), (2, 2), (2, 2)]
    for path in (alone / "scenes").glob("*.safetensors"):
        assert (shared / "scenes" / path.name).read_bytes() == path.read_bytes()


def test_a_broken_run_goes_on(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim(recipe, SPECS, tmp_path)
    first = make(recipe, SPECS, 1, tmp_path, 2, CPU)
    (tmp_path / "scenes/001-0.json").unlink()
    asked: list[str] = []
    write = specimens._write

    def watched(folder: Path, finished: specimens.FinishedScene) -> None:
        asked.append(finished.key)
        write(folder, finished)

    monkeypatch.setattr(specimens, "_write", watched)
    second = make(recipe, SPECS, 1, tmp_path, 2, CPU)
    assert asked == ["001-0"]
    x = torch.rand(50, 3) - 0.5
    for a, b in zip(first, second, strict=True):
        assert a.scene is not None
        assert b.scene is not None
        torch.testing.assert_close(a.scene.density(x), b.scene.density(x))
    make(recipe, SPECS, 1, tmp_path, 2, CPU)
    assert asked == ["001-0"]


def test_what_is_not_ok_has_no_scene(recipe: Recipe, tmp_path: Path) -> None:
    claim(recipe, SPECS[:1], tmp_path)
    make(recipe, SPECS[:1], 1, tmp_path, 1, CPU)
    path = tmp_path / "scenes/000-0.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "diverged"}))
    (found,) = make(recipe, SPECS[:1], 1, tmp_path, 1, CPU)
    assert (found.status, found.scene) == ("diverged", None)


def test_another_recipe_or_other_prompts_need_another_place(recipe: Recipe, tmp_path: Path) -> None:
    claim(recipe, SPECS, tmp_path)
    claim(recipe, SPECS, tmp_path)
    with pytest.raises(ValueError, match="another recipe digest"):
        claim(dataclasses.replace(recipe, iterations=7), SPECS, tmp_path)
    with pytest.raises(ValueError, match=r"of another prompts; .*give another directory"):
        claim(recipe, SPECS[:1], tmp_path)
