import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.evaluation import train_judges
from engine.evaluation.judge import Judge
from engine.evaluation.judge_card import Trials, swap_accuracy
from engine.evaluation.judge_training import StepConfig, Trainer
from engine.evaluation.train_judges import TrainConfig
from engine.primitives import pictures
from engine.primitives.captions import parse, vocabulary
from engine.primitives.grammar import geometries, specs
from engine.primitives.pictures import Pictures, render_pictures
from tests.engine.evaluation.judge_fakes import (
    GEOMETRIES,
    SCENES,
    SMALL,
    flat_pictures,
    geometry_rows,
)


def quick_card(judge: Judge, pictures: Pictures, seed: int) -> dict[str, float]:
    """The gate alone: pools need the whole world."""
    trials = Trials.of(pictures).coloured(2)
    return {"swap": swap_accuracy(judge, trials), "num_swap": len(trials.specs)}


@pytest.fixture
def _small_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few scenes and their flat pictures instead of all that there are."""
    replacements = {
        "specs": lambda: SCENES,
        "geometries": lambda: GEOMETRIES,
        "geometry_rows": geometry_rows,
        "card": quick_card,
    }
    for name, value in replacements.items():
        monkeypatch.setattr(train_judges, name, value)
    monkeypatch.setattr(
        pictures, "render_pictures", lambda count, seed, *how: flat_pictures(count, seed)
    )


small_world = pytest.mark.usefixtures("_small_world")


def config(out: Path, **changes) -> TrainConfig:
    settings = {
        "out": out,
        "minutes": 1e-4,
        "pictures": 24,
        "device": "cpu",
        "probes": 8,
        "trials": 24,
        "log_every_s": 0.0,
        "sizes": SMALL,
        "step": StepConfig(batch=4),
    }
    return TrainConfig(**settings | changes)


def card_of(out: Path, name: str) -> dict:
    return json.loads((out / name / "card.json").read_text())


class Clock:
    """Time that passes only where the test lets it: a fixed share of a second at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 0.25
        return self.now


@small_world
def test_a_run_leaves_both_judges_their_cards_and_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_judges, "time", Clock())
    figures = train_judges.train(config(tmp_path, minutes=0.3, save_every_s=2.0))
    assert list(figures) == ["j1", "j2"]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {line["judge"] for line in lines} == {"j1", "j2"}
    assert {"steps", "ms_a_step", "caption", "picture", "geometry", "dev_swap"} <= set(lines[0])
    for name, config_of in SMALL.items():
        judge = Judge.load(tmp_path / name)
        assert judge.config == config_of
        said = card_of(tmp_path, name)
        assert said["steps"] == max(line["steps"] for line in lines if line["judge"] == name)
        assert said["steps"] > 3
        assert said["device"] == "cpu"
        expected = {key: round(value, 4) for key, value in figures[name].items()}
        assert said["figures"] == pytest.approx(expected, nan_ok=True)
    # Each has an equal share of the time.
    steps = [card_of(tmp_path, name)["steps"] for name in SMALL]
    assert max(steps) < 2 * min(steps)


@small_world
def test_a_resumed_judge_starts_from_what_was_saved(tmp_path: Path) -> None:
    plain = config(tmp_path, judges=("j2",))
    train_judges.train(plain)
    before = (tmp_path / "j2" / "weights.safetensors").read_bytes()
    said = card_of(tmp_path, "j2") | {"steps": 70, "seconds": 9.0}
    (tmp_path / "j2" / "card.json").write_text(json.dumps(said))
    train_judges.train(replace(plain, resume=True, seed=5))
    assert (tmp_path / "j2" / "weights.safetensors").read_bytes() == before
    after = card_of(tmp_path, "j2")
    assert after["steps"] == 70
    assert after["seconds"] >= 9.0


@small_world
def test_judges_start_from_seeds_of_their_own(tmp_path: Path) -> None:
    train_judges.train(config(tmp_path, sizes={"j1": SMALL["j1"], "j2": SMALL["j1"]}))
    first, second = (Judge.load(tmp_path / name).network for name in ("j1", "j2"))
    assert not torch.equal(first.captions.words.weight, second.captions.words.weight)


@small_world
def test_an_acceleration_that_fails_costs_speed_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: Trainer) -> None:
        self._pictures = None  # type: ignore[assignment]
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(Trainer, "compile", fail)
    monkeypatch.setattr(train_judges, "time", Clock())
    with caplog.at_level(logging.ERROR):
        train_judges.train(config(tmp_path, judges=("j1",), compile=True, minutes=0.1))
    assert "FALLBACK: torch.compile failed" in caplog.text
    assert card_of(tmp_path, "j1")["steps"] > 0


@pytest.mark.parametrize("changes", [{"minutes": 0.0}, {"pictures": 0}])
def test_impossible_settings_are_refused(tmp_path: Path, changes: dict) -> None:
    with pytest.raises(ValueError, match="expected minutes > 0 and at least one picture"):
        config(tmp_path, **changes)


def test_judges_of_two_sizes_cannot_share_pictures(tmp_path: Path) -> None:
    sizes = {"j1": SMALL["j1"], "j2": replace(SMALL["j2"], size=32)}
    with pytest.raises(ValueError, match="one size"):
        config(tmp_path, sizes=sizes)


def test_the_command_line_says_what_to_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[TrainConfig] = []
    monkeypatch.setattr(train_judges, "train", asked.append)
    monkeypatch.setattr(logging, "basicConfig", lambda **settings: None)
    train_judges.main(["--out", str(tmp_path), "--device", "cpu"])
    flags = "--minutes 1.5 --pictures 64 --trials 5 --batch 8 --lr 1e-4 --seed 3 --resume"
    flags += " --compile --judge j2 --device cpu"
    train_judges.main(["--out", str(tmp_path), *flags.split()])
    assert asked[0] == TrainConfig(out=tmp_path, device="cpu")
    assert asked[1] == TrainConfig(
        out=tmp_path,
        device="cpu",
        minutes=1.5,
        pictures=64,
        trials=5,
        step=StepConfig(batch=8, lr=1e-4),
        seed=3,
        judges=("j2",),
        resume=True,
        compile=True,
    )


def test_lessons_are_of_the_whole_world_and_name_what_pictures_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All negatives take seconds, and have tests of their own.
    wrong = torch.arange(len(specs()))[:, None, None]
    monkeypatch.setattr(train_judges, "hard_negatives", lambda scenes, seed: wrong)
    plain = config(tmp_path, pictures=12, seed=2)
    found = train_judges._prepare(plain)
    rendered = render_pictures(12, 2031, "cpu", split=None, size=plain.size)
    assert torch.equal(found.rgba, rendered.rgba)
    assert torch.equal(found.is_textureless, rendered.is_textureless)
    words = found.captions.draw(found.scene)
    for row, spec in enumerate(rendered.specs):
        text = " ".join(vocabulary()[number - 1] for number in words[row].tolist() if number)
        assert parse(text.replace(" ,", ",")) == spec
        assert geometries()[found.geometry[row]] == spec.geometry
    assert len(found.captions.first) == len(specs())
    assert torch.equal(found.negatives, wrong)
    assert len(found.geometries.first) == len(geometries())
