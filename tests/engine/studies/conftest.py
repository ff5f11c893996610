"""What the tests of the studies share."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine import kernels
from engine.evaluation import trials
from engine.evaluation.judge import Judge
from engine.evaluation.trials import Outcome
from engine.gang import Gang, SceneRequest
from engine.guidance.pixel import PixelGuidance
from engine.studies import study
from tests.engine.studies.fakes import Bench, Made, MeanColourJudge, show_centres


@pytest.fixture
def studies(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench on which studies run in seconds: no judge's weights, no meshes."""
    bench = Bench(tiny_weights)
    honest = trials.optimise

    def optimise(gang: Gang, requests: list[SceneRequest], stepped: Callable[[], None]) -> list:
        made = Made(
            iterations=gang.recipe.iterations,
            num_scenes=len(requests),
            num_slots=gang.num_slots,
            is_exact=kernels._IS_HELD_OFF.get(),
        )
        bench.gangs.append(made)
        return honest(gang, requests, stepped)

    def chamfers(outcome: Outcome, *_: object) -> list[float]:
        return [0.05] * len(outcome.scenes)

    monkeypatch.setattr(trials, "optimise", optimise)
    monkeypatch.setattr(trials, "show_scenes", show_centres)
    monkeypatch.setattr(study, "chamfers", chamfers)
    monkeypatch.setattr(Judge, "load", lambda *_: MeanColourJudge())
    monkeypatch.setattr(PixelGuidance, "_faster_dtype", lambda _: torch.float32)
    return bench
