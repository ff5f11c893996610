"""The paper's recipe in our world under Adam and Shampoo: what is varied; the command."""

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import recipes
from engine.configs.fields import MipMlpConfig
from engine.recipe import Recipe
from engine.studies import optimisers, shampoo
from engine.studies.order import chosen
from engine.studies.shampoo import Shampoo
from tests.engine.studies.fakes import Bench

needs_library = pytest.mark.skipif(
    find_spec("pytorch_optimizer") is None,
    reason="needs pytorch-optimizer, which is not installed",
)
PAPER, OURS = recipes.get("dreamfusion_paper"), recipes.get("primitives")
RECIPE = optimisers.embedded(PAPER, OURS, steps=600, views=1)


@pytest.fixture
def paper(tmp_path: Path) -> Path:
    """The paper's recipe with networks that a CPU trains in a second."""
    assert isinstance(PAPER.field, MipMlpConfig)
    field = replace(PAPER.field, width=8, num_blocks=2, num_frequencies=2)
    small = replace(PAPER, field=field, background=replace(PAPER.background, width=8))
    path = tmp_path / "paper.json"
    path.write_text(json.dumps(small.to_dict()))
    return path


def test_all_is_the_papers_but_for_the_world_and_the_length() -> None:
    for part in ("shading", "background", "distillation", "losses", "optimiser"):
        assert getattr(RECIPE, part) == getattr(PAPER, part), part
    for part in ("guidance", "camera", "export", "render_size"):
        assert getattr(RECIPE, part) == getattr(OURS, part), part
    assert isinstance(PAPER.field, MipMlpConfig)
    assert RECIPE.field == replace(PAPER.field, bound=OURS.field.bound)
    assert RECIPE.march == replace(OURS.march, density_floor=PAPER.march.density_floor)
    assert (RECIPE.iterations, RECIPE.views) == (600, 1)


def test_both_optimisers_have_every_rate() -> None:
    found = {v.name: v for v in optimisers.variations(RECIPE, 25)}
    assert list(found) == [
        *(f"Adam, rate x {factor}" for factor in (1, 3, 10, 30)),
        *(f"Shampoo, rate x {factor}, roots / 25" for factor in (1, 3, 10, 30)),
    ]
    assert found["Adam, rate x 1"].recipe == RECIPE
    ten = found["Adam, rate x 10"].recipe
    assert ten == found["Shampoo, rate x 10, roots / 25"].recipe
    rates = [*ten.optimiser.lr, ten.optimiser.warmup_lr]
    assert rates == pytest.approx([1e-3, 1e-5, 1e-8])
    assert replace(ten, optimiser=PAPER.optimiser) == RECIPE
    assert all((v.optimiser is None) == name.startswith("Adam") for name, v in found.items())


def test_what_runs_unasked() -> None:
    names = [v.name for v in chosen(optimisers.variations(RECIPE, 25), optimisers.USUAL)]
    assert names == [
        "Adam, rate x 1",
        "Adam, rate x 3",
        "Adam, rate x 10",
        "Shampoo, rate x 1, roots / 25",
    ]


@needs_library
def test_the_command(
    studies: Bench, paper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[int, Any]] = []
    honest = Shampoo.step

    def step(self: Shampoo, *given: Any, **more: Any) -> None:
        made.append((len(self._scenes), more["lr"].tolist()))
        honest(self, *given, **more)

    monkeypatch.setattr(Shampoo, "step", step)
    flags = [*studies.flags(tmp_path), "--paper", str(paper), "--steps", "6", "--every", "2"]
    optimisers.main(flags)
    assert [gang.iterations for gang in studies.gangs] == [6] * 4
    # Six steps of two scenes, the first at the paper's first rate; then those that are timed.
    assert [number for number, _ in made] == [2] * 6 + [1] * 4
    assert made[0][1] == pytest.approx([1e-9] * 2)
    document = json.loads((tmp_path / "results.json").read_text())
    assert [row["ok"] for row in document["results"]] == [2] * 4
    ends = [[scene["losses"]["sds"] for scene in row["scenes"]] for row in document["results"]]
    assert len({tuple(end) for end in ends}) == 4
    table = (tmp_path / "table.md").read_text()
    assert "| ms a step | last losses, medians |" in table.splitlines()[0]
    assert table.count("against Shampoo, rate x 1, roots / 2:") == 3
    assert "Shampoo alone, a scene: " in table
    # Nothing is made twice.
    optimisers.main(flags)
    assert len(studies.gangs) == 4


def test_adam_needs_no_library(
    studies: Bench,
    paper: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(shampoo, "import_module", missing)
    flags = [*studies.flags(tmp_path), "--paper", str(paper), "--steps", "2"]
    with pytest.raises(SystemExit) as ended:
        optimisers.main(flags)
    assert ended.value.code == 2
    assert "pip install pytorch-optimizer" in capsys.readouterr().err.splitlines()[-1]
    assert studies.gangs == []
    optimisers.main([*flags, "--only", "Adam, rate x 30"])
    assert [gang.iterations for gang in studies.gangs] == [2]
    assert "Shampoo" not in (tmp_path / "table.md").read_text()


def test_roots_never_are_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        optimisers.main(["--out", str(tmp_path), "--every", "0"])
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "--every: expected 1 step or more, got 0" in said


@needs_library
def test_times_of_one_scene_alone(paper: Path) -> None:
    small: Recipe = recipes.find(str(paper))
    plain, rooted = optimisers.seconds_a_step(small, 3, torch.device("cpu"))
    # Roots are thousands of small operations.
    assert 0.0 < plain < rooted
