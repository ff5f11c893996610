import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from engine import recipes
from engine.evaluation import sweep
from engine.evaluation.lexicon import Lexicon
from engine.evaluation.sweep import Bench, Variation, changed, read_changes, score_of, walk
from engine.evaluation.trials import Trials
from engine.evaluation.verdict import figures
from engine.guidance.pixel import PixelGuidance
from engine.primitives.splits import choose
from engine.recipe import Recipe
from tests.tiny_pipeline import write_tiny_pipeline


def test_settings_are_replaced_by_their_path_and_nothing_else_is() -> None:
    base = recipes.get("primitives")
    found = changed(base, {"distillation.scale": 7.5, "iterations": 12})
    assert (found.distillation.scale, found.iterations) == (7.5, 12)
    expected = base.to_dict()
    expected["distillation"]["scale"], expected["iterations"] = 7.5, 12
    assert found.to_dict() == expected


def test_a_span_is_replaced_as_a_whole() -> None:
    found = changed(recipes.get("primitives"), {"optimiser.lr": [0.05, 0.01]})
    assert found.optimiser.lr == (0.05, 0.01)


@pytest.mark.parametrize("path", ["speed", "distillation.speed", "speed.distillation", "views.a"])
def test_a_path_to_no_setting_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=f"recipe smoke has no setting '{path}'"):
        changed(recipes.get("smoke"), {path: 1})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("views=2", [{"views": 2}]),
        ("views=2,4", [{"views": 2}, {"views": 4}]),
        ("a.b=[0.9,0.4],[0.9,0.2]", [{"a.b": [0.9, 0.4]}, {"a.b": [0.9, 0.2]}]),
        ('a=1 b="x","y"', [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}]),
    ],
)
def test_changes_are_read_from_a_line(text: str, expected: list[dict]) -> None:
    assert read_changes(text) == expected


@pytest.mark.parametrize("text", ["views", "views 2", "views=two", "views=[1"])
def test_a_line_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--vary: expected settings like name=1,2"):
        read_changes(text)


def _walked(texts: list[str], scores: dict[str, float], *, greedy: bool) -> tuple[list, Recipe]:
    seen = []

    def run(variation: Variation) -> dict:
        seen.append((variation.name, variation.recipe.views, variation.recipe.iterations))
        return {"score": scores.get(variation.name, 0.0)}

    *_, best = walk(recipes.get("smoke"), texts, run, greedy=greedy)
    return seen, best


def test_the_recipe_itself_comes_first_and_each_variation_is_named() -> None:
    seen, best = _walked(
        ["views=2,3", "optimiser.lr=[0.05,0.01] views=2"], {"views=3": 1.0}, greedy=False
    )
    assert seen == [
        ("as it is", 1, 6),
        ("views=2", 2, 6),
        ("views=3", 3, 6),
        ("optimiser.lr=[0.05,0.01] views=2", 2, 6),
    ]
    assert best.views == 3


def test_a_greedy_walk_goes_on_from_the_best_of_each_step() -> None:
    scores = {"as it is": 0.1, "views=3": 0.5, "iterations=7": 0.6, "views=4": 0.4}
    seen, best = _walked(["views=2,3", "iterations=7,8", "views=4"], scores, greedy=True)
    assert seen[3:] == [("iterations=7", 3, 7), ("iterations=8", 3, 8), ("views=4", 4, 7)]
    assert (best.views, best.iterations) == (3, 7)


def test_a_score_is_the_mean_of_what_is_right_and_of_nearness() -> None:
    found = dataclasses.replace(
        figures([]), colour_retrieval=0.5, geometry_retrieval=1.0, kind=0.25, colour=0.75
    )
    assert score_of(found, 0.05) == pytest.approx((0.5 + 1.0 + 0.25 + 0.75 + 0.75) / 5)
    assert score_of(found, math.inf) == pytest.approx((0.5 + 1.0 + 0.25 + 0.75) / 5)


def test_a_sweep_leaves_a_row_and_a_sheet_for_each_variation(
    tmp_path: Path,
    lexicon: Lexicon,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    judged: list[str] = []
    monkeypatch.setattr(sweep.Judge, "load", lambda name, device: judged.append(name))
    monkeypatch.setattr(sweep, "Lexicon", lambda judge: lexicon)
    model = write_tiny_pipeline(tmp_path / "model")
    out = tmp_path / "out"
    sweep.main(
        [
            *("--recipe", "smoke", "--guidance", str(model), "--prompts", "2"),
            *("--vary", "iterations=2 views=2", "--out", str(out)),
        ]
    )
    rows = [json.loads(line) for line in (out / "sweep.jsonl").read_text().splitlines()]
    assert [row["variation"] for row in rows] == ["as it is", "iterations=2 views=2"]
    assert [row["evaluations"] for row in rows] == [6, 4]
    assert [row["count"] for row in rows] == [2, 2]
    assert all(0 <= row["ok"] <= 2 and row["seconds"] >= 0 for row in rows)
    assert Recipe.from_dict(json.loads((out / "best.json").read_text())).name == "smoke"
    assert sorted(path.name for path in out.glob("*.png")) == ["0.png", "1.png"]
    assert len(capsys.readouterr().out.splitlines()) == 2
    # J1 tunes; J2 would have to be asked for.
    assert judged == ["j1"]


def test_every_variation_meets_the_same_scenes_and_seeds(lexicon: Lexicon, tmp_path: Path) -> None:
    guidance = PixelGuidance.load(
        write_tiny_pipeline(tmp_path / "model"), device="cpu", dtype=torch.float32
    )
    trials = Trials(guidance, lexicon, choose("dev", 2, seed=1), seed=5)
    bench = Bench(trials, tmp_path)
    variation = Variation(name="as it is", recipe=recipes.get("smoke"))
    first, again = (bench.run(variation) for _ in range(2))
    for row in (first, again):
        for clock in ("seconds", "ms_a_step"):
            row.pop(clock)
    assert first == again
