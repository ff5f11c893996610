"""The benchmark from end to end, with a tiny recipe, a random model and the oracle."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from engine import recipes
from engine.configs.export import ExportConfig
from engine.evaluation import benchmark, chamfer
from engine.evaluation.benchmark import BenchmarkConfig, main
from engine.evaluation.lexicon import Lexicon
from engine.primitives.grammar import Spec
from tests.engine.evaluation.oracles import Oracle


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch, lexicon: Lexicon) -> None:
    monkeypatch.setattr(benchmark.Judge, "load", lambda *_: Oracle())
    monkeypatch.setattr(benchmark, "Lexicon", lambda _: lexicon)
    monkeypatch.setattr(chamfer, "NUM_SHAPES", 4)


@pytest.mark.usefixtures("_small")
def test_from_prompts_to_figures(
    tmp_path: Path, tiny_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = dataclasses.replace(recipes.get("smoke"), guidance="nowhere")
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe.to_dict()))
    words = f"--recipe {path} --guidance {tiny_weights} --prompts 2 --seeds 1 --split dev"
    main([*words.split(), "--judge", "j1", "--slots", "2", "--out", str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert "000-0 a black table with brown legs: ok" in said
    assert "R bench" in said
    document = json.loads((tmp_path / "out/results.json").read_text())
    assert (document["judge"], document["split"], document["slots"]) == ("j1", "dev", 2)
    assert document["figures"]["all"]["count"] == len(document["assets"]) == 2
    for row in document["assets"]:
        assert (row["status"], row["evaluations"]) == ("ok", 6)
        assert 0 < row["chamfer"] < 1
        assert 0 <= row["benchmark_place"] < 4
        assert row["seconds"] > 0
    assert (tmp_path / "out/best.png").is_file()
    assert len(list((tmp_path / "out/scenes").iterdir())) == 4


def test_without_a_scene_the_distance_is_infinite() -> None:
    ruler = chamfer.Chamfer("cpu")
    found = benchmark.distance(None, Spec("cube", ("red",)), ruler, ExportConfig())
    assert found == float("inf")


@pytest.mark.parametrize("name", ["prompts", "seeds", "slots"])
def test_numbers_are_checked(name: str, tiny_weights: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(recipes.get("smoke"), guidance=str(tiny_weights))
    wrong: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=f"{name}: expected 1 or more, got 0"):
        BenchmarkConfig(recipe=recipe, out=tmp_path, **wrong)


def test_the_model_is_checked(tmp_path: Path) -> None:
    recipe = dataclasses.replace(recipes.get("smoke"), guidance=str(tmp_path / "absent"))
    with pytest.raises(ValueError, match="no such directory"):
        BenchmarkConfig(recipe=recipe, out=tmp_path)
