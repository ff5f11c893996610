import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from engine import recipes
from engine.configs.distillation import DistillationConfig
from engine.configs.losses import LossConfig
from engine.evaluation import trials
from engine.evaluation.lexicon import Lexicon
from engine.evaluation.manner import Manner
from engine.evaluation.stage import Staged
from engine.gang import Gang
from engine.primitives.captions import caption
from engine.primitives.grammar import Spec
from tests.engine.fakes import DiscGuidance
from tests.engine.studies.fakes import WORDS, MeanColourJudge, show_centres

SPECS = (Spec("ball", ("red",)), Spec("ball", ("blue",)), Spec("cube", ("green",)))
RECIPE = replace(
    recipes.get("smoke"),
    iterations=4,
    views=2,
    distillation=DistillationConfig(scale=3.0),
    losses=LossConfig(opacity=1.0),
)


class SickGuidance(DiscGuidance):
    """Cannot imagine cubes."""

    def encode(self, prompts: list[str]) -> Tensor:
        return super().encode([p.replace("a green cube", "poison") for p in prompts])


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return Lexicon(MeanColourJudge())


@pytest.fixture(scope="module", autouse=True)
def _quick_stage() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trials, "show_scenes", show_centres)
        yield


@pytest.fixture(scope="module")
def outcome(lexicon: Lexicon) -> trials.Outcome:
    trial = trials.Trials(SickGuidance(), lexicon, SPECS, seed=7, manner=Manner(slots=2))
    return trial.run("a try", RECIPE)


def test_scenes_come_back_in_their_order_and_failures_are_counted(outcome: trials.Outcome) -> None:
    assert [verdict.spec for verdict in outcome.verdicts] == list(SPECS)
    assert [verdict.taken_for is None for verdict in outcome.verdicts] == [False, False, True]
    assert outcome.num_ok == 2
    for losses, is_there in zip(outcome.losses, (True, True, False), strict=True):
        assert set(losses) == {"sds", "opacity", "mean_opacity"}
        assert math.isfinite(losses["sds"]) == is_there
    assert outcome.colour.shape == (3, 8, 3, 64, 64)
    assert [bool((pictures == 0.5).all()) for pictures in outcome.colour] == [False, False, True]


def test_caption_score_is_the_mean_logit_of_the_own_captions(outcome: trials.Outcome) -> None:
    def unit(values: Sequence[float]) -> list[float]:
        length = sum(v * v for v in values) ** 0.5
        return [v / length for v in values]

    scores = []
    for spec, views in zip(SPECS, outcome.colour, strict=True):
        wanted = unit([value + 0.1 for value in WORDS[spec.colours[0]]])
        for view in views:
            seen = unit([float(channel.mean()) for channel in view])
            scores.append(10.0 * sum(a * b for a, b in zip(wanted, seen, strict=True)))
    assert outcome.caption_score == pytest.approx(sum(scores) / len(scores), rel=1e-4)


def test_the_row_of_the_report(outcome: trials.Outcome) -> None:
    row = outcome.as_row()
    assert row["name"] == "a try"
    assert (row["gradient"], row["guidance_scale"]) == ("score", 3.0)
    assert (row["steps"], row["evaluations_a_scene"]) == (4, 8)
    assert row["peak_bytes"] is None
    assert row["ok"] == 2
    assert row["figures"]["count"] == 3
    assert [scene["caption"] for scene in row["scenes"]] == [caption(spec) for spec in SPECS]
    assert row["seconds"] > 0
    # Three scenes fill two slots twice, four steps each time.
    assert outcome.ms_a_step == pytest.approx(1000 * outcome.seconds / 8)
    assert row["ms_a_step"] == pytest.approx(outcome.ms_a_step, abs=0.01)


def test_a_step_of_a_gang_of_all_scenes_is_one_of_the_recipe_s(lexicon: Lexicon) -> None:
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        honest = Gang.step
        patch.setattr(Gang, "step", lambda gang: (steps.append(gang), honest(gang))[1])
        for slots, expected in ((None, 4), (2, 8), (1, 12)):
            steps.clear()
            manner = Manner(slots=slots)
            found = trials.Trials(DiscGuidance(), lexicon, SPECS, seed=7, manner=manner)
            assert found.run("", RECIPE).num_steps == expected == len(steps)


def test_scenes_do_not_depend_on_the_slots(lexicon: Lexicon, outcome: trials.Outcome) -> None:
    trial = trials.Trials(SickGuidance(), lexicon, SPECS, seed=7)
    torch.testing.assert_close(trial.run("", RECIPE).colour, outcome.colour, rtol=0, atol=1e-4)


def test_a_manner_surrounds_the_making_of_scenes_and_not_their_judging(
    lexicon: Lexicon, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed, captures = {}, []
    kind = Gang

    def gang(*args: Any, capture: bool, **kwargs: Any) -> Gang:
        captures.append(capture)
        allowed["making"] = torch.backends.cudnn.allow_tf32
        return kind(*args, capture=capture, **kwargs)

    def show(scenes: Sequence[Any]) -> Staged:
        allowed["judging"] = torch.backends.cudnn.allow_tf32
        return show_centres(scenes)

    monkeypatch.setattr(trials, "Gang", gang)
    monkeypatch.setattr(trials, "show_scenes", show)
    manner = Manner(is_exact=True, captured=True)
    trials.Trials(DiscGuidance(), lexicon, SPECS, seed=7, manner=manner).run("", RECIPE)
    assert allowed == {"making": False, "judging": True}
    assert captures == [True]


def test_a_step_is_timed_after_a_warm_up(lexicon: Lexicon, monkeypatch: pytest.MonkeyPatch) -> None:
    now, busy = [0.0], []

    def step(gang: Gang) -> None:
        busy.append(gang.num_slots - gang.num_free)
        now[0] += 100.0 if len(busy) <= 4 else 2.0

    trial = trials.Trials(DiscGuidance(), lexicon, SPECS, seed=7, manner=Manner(slots=2))
    monkeypatch.setattr(Gang, "step", step)
    monkeypatch.setattr(trials.time, "perf_counter", lambda: now[0])
    assert trial.seconds_a_step(RECIPE) == 2.0
    assert set(busy) == {2}
