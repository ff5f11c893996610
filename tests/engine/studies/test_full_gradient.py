import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from engine import recipes
from engine.configs.distillation import DistillationConfig
from engine.configs.losses import LossConfig
from engine.configs.optimiser import OptimiserConfig
from engine.evaluation import trials
from engine.evaluation.judge import Judge
from engine.evaluation.trials import Outcome, Trials
from engine.gang import Gang
from engine.guidance.guidance import Guidance
from engine.guidance.pixel import PixelGuidance
from engine.optimiser import Optimiser
from engine.primitives.grammar import Spec
from engine.recipe import Recipe
from engine.studies import full_gradient, gradients
from engine.studies.gradients import Comparison
from tests.engine.fakes import RecordingGuidance
from tests.engine.studies.fakes import MeanColourJudge, show_centres

RECIPE = replace(
    recipes.get("smoke"),
    distillation=DistillationConfig(scale=20.0),
    losses=LossConfig(opacity=8.0, entropy=(0.0, 4.0), total_variation=2.0, orientation=(6.0, 6.0)),
    optimiser=OptimiserConfig(lr=(0.3, 0.03)),
)


class PretendedTrials(Trials):
    """Makes nothing; every recipe gets the score that a function gives it."""

    def __init__(self, score: Callable[[Recipe], float]) -> None:
        self.guidance: Guidance = RecordingGuidance()
        self.specs = [Spec("ball", ("red",))]
        self.score = score
        self.recipes: list[Recipe] = []

    def run(self, name: str, recipe: Recipe, optimiser: Optimiser | None = None) -> Outcome:
        assert optimiser is None
        self.recipes.append(recipe)
        return Outcome(
            name=name,
            recipe=recipe,
            seconds=1.0,
            num_steps=recipe.iterations,
            peak_bytes=None,
            scenes=[],
            losses=[],
            colour=torch.rand(1, 8, 3, 64, 64),
            verdicts=[],
            caption_score=self.score(recipe),
        )

    def seconds_a_step(self, recipe: Recipe) -> float:
        """Full takes two and a half times as long."""
        return 0.5 if recipe.distillation.gradient == "full" else 0.2


@pytest.fixture
def ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full gradients are a quarter of the score's size at guidance 20, and in proportion."""

    def compare(*question: object) -> list[Comparison]:
        full = question[-1]
        assert isinstance(full, DistillationConfig)
        row = {"time": 0.5, "cosine": 0.1, "score_repeat": 0.2, "full_repeat": 0.3}
        return [Comparison(score_size=80.0, full_size=full.scale, **row)]

    monkeypatch.setattr(full_gradient, "compare", compare)


@pytest.mark.usefixtures("ratio")
def test_full_is_tried_in_the_time_of_score_and_its_best_with_as_many_evaluations() -> None:
    def score(recipe: Recipe) -> float:
        """Likes guidance 4, no regularisers, and the usual rate."""
        is_bare = recipe.losses == LossConfig()
        return -abs(recipe.distillation.scale - 4.0) + is_bare - (recipe.optimiser.lr[0] < 0.3)

    trial = PretendedTrials(score)
    findings = full_gradient.study(trial, RECIPE, 100)
    kinds = [recipe.distillation.gradient for recipe in trial.recipes]
    assert kinds == ["score"] * 2 + ["full"] * 6
    assert [r.iterations for r in trial.recipes] == [100, 100, 40, 40, 40, 40, 40, 100]
    assert [r.distillation.scale for r in trial.recipes] == [20, 20, 20, 4, 1, 4, 4, 4]
    opacities = [r.losses.opacity for r in trial.recipes]
    assert opacities == pytest.approx([8.0, 0.0, 2.0, 0.4, 0.1, 0.4, 0.0, 0.0])
    assert trial.recipes[2].losses == LossConfig(
        opacity=2.0, entropy=(0.0, 1.0), total_variation=0.5, orientation=(1.5, 1.5)
    )
    rates = [r.optimiser.lr for r in trial.recipes]
    assert rates[5] == pytest.approx((0.1, 0.01))
    assert [rate == (0.3, 0.03) for rate in rates] == [True] * 5 + [False] + [True] * 2
    assert findings.score.name == "score"
    assert full_gradient.best_of(findings.tries).name == "full, guidance 4, no regularisers"
    assert findings.full.name == "full, guidance 4, no regularisers, equal evaluations"
    assert findings.comparisons[0].full_size == 20.0


@pytest.mark.usefixtures("ratio")
def test_the_settings_of_the_first_round_may_win() -> None:
    trial = PretendedTrials(lambda recipe: recipe.distillation.scale + recipe.losses.opacity)
    findings = full_gradient.study(trial, RECIPE, 10)
    assert findings.full.name == "full, guidance 20, equal evaluations"
    assert findings.full.recipe == replace(findings.tries[0].recipe, iterations=10)


def test_the_plain_scale_leaves_the_caption_alone() -> None:
    from engine.sds import guided

    conditional, unconditional = torch.randn(2, 5)
    for form in ("interpolate", "extrapolate"):
        config = DistillationConfig(form=form)
        plain = replace(config, scale=full_gradient.plain_scale(config))
        torch.testing.assert_close(guided(conditional, unconditional, plain), conditional)


def test_the_command_writes_results_a_table_and_pictures(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Judge, "load", lambda *_: MeanColourJudge())
    monkeypatch.setattr(trials, "show_scenes", show_centres)
    monkeypatch.setattr(trials, "_TIMED", 1)
    monkeypatch.setattr(gradients, "TIMES", (0.6,))
    monkeypatch.setattr(PixelGuidance, "_faster_dtype", lambda _: torch.float32)
    steps = []
    honest = Gang.step
    monkeypatch.setattr(Gang, "step", lambda gang: (steps.append(gang), honest(gang)))
    arguments = ["--recipe", "smoke", "--prompts", "1", "--steps", "2", "--out", str(tmp_path)]
    full_gradient.main([*arguments, "--guidance", str(tiny_weights)])
    results = json.loads((tmp_path / "results.json").read_text())
    assert (results["split"], results["slots"], results["device"]) == ("dev", 1, "cpu")
    assert len(results["outcomes"]) == 8
    assert len(results["gradients"]) == 1
    assert results["shown"][0] == "score"
    assert sum(outcome["steps"] for outcome in results["outcomes"]) + 2 * 5 == len(steps)
    table = (tmp_path / "table.md").read_text()
    for outcome in results["outcomes"]:
        assert f"| {outcome['name']} | {outcome['steps']} |" in table
    with Image.open(tmp_path / "pictures.png") as picture:
        assert picture.width > 6 * 128
