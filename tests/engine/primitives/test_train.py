import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from engine.guidance.pixel import PixelGuidance
from engine.primitives import checkpoint, samples, train
from engine.primitives.reading import ReadingConfig
from engine.primitives.teacher import build, save
from engine.primitives.train import TrainConfig, ema_decay, learning_rate
from engine.primitives.training import StepConfig, Trainer
from tests.engine.primitives.tiny import SIZES


def config(out: Path, **changes) -> TrainConfig:
    settings = {
        "out": out,
        "pictures": 12,
        "device": "cpu",
        "compile": False,
        "max_steps": 3,
        "log_every": 2,
        "num_sheet_rows": 2,
        "minutes": 2.0,
        "teacher": SIZES,
        "reading": ReadingConfig(steps=2, batch=4),
        "step": StepConfig(batch=4),
    }
    return TrainConfig(**settings | changes)


def log_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sheet in two steps instead of fifty."""
    monkeypatch.setattr(samples.sample, "__defaults__", (2, 4.0))


@pytest.mark.usefixtures("_quick")
def test_a_run_leaves_everything_and_can_be_resumed(tmp_path: Path) -> None:
    mean = train.train(config(tmp_path))
    first = checkpoint.read(tmp_path)
    assert first.steps == 3
    expected = mean.unet.conv_in.weight.detach().half().float()
    assert torch.equal(first.teacher.unet.conv_in.weight.detach(), expected)
    first_words = first.teacher.text_encoder.shared.weight.detach().clone()
    with Image.open(tmp_path / "samples.png") as sheet:
        assert sheet.size == (4 * 16, 2 * 16)
    guidance = PixelGuidance.load(tmp_path / "pipeline", device="cpu", dtype=torch.float32)
    assert guidance.size == 16
    on_train, on_dev, report, last = log_of(tmp_path)
    assert (on_train["split"], on_dev["split"]) == ("train", "dev")
    assert 0 <= on_dev["captions_understood"] <= 1
    assert report["steps"] == 2
    assert len(report["mse_by_quarter_of_t"]) == 4
    assert last["steps"] == 3
    assert 0 <= last["binding"] <= 1
    # The sizes come from the checkpoint, the count of steps goes on.
    again = config(tmp_path, resume=True, max_steps=2, num_sheet_rows=0, pipeline=False)
    train.train(replace(again, teacher=replace(SIZES, text_layers=2)))
    second = checkpoint.read(tmp_path)
    # What could read already is not taught again.
    assert torch.equal(second.teacher.text_encoder.shared.weight, first_words)
    assert (second.steps, second.config) == (5, SIZES)
    assert second.seconds > first.seconds
    assert log_of(tmp_path)[-1]["steps"] == 5


def test_a_resumed_run_starts_from_the_running_mean(tmp_path: Path) -> None:
    plain = config(tmp_path, num_sheet_rows=0, pipeline=False)
    train.train(plain)
    before = checkpoint.read(tmp_path).teacher.unet.conv_out.weight.detach()
    assert float(before.abs().max()) > 0
    train.train(replace(plain, resume=True, max_steps=0))
    after = checkpoint.read(tmp_path).teacher.unet.conv_out.weight.detach()
    assert torch.equal(before, after)


def test_time_ends_a_run(tmp_path: Path) -> None:
    brief = config(tmp_path, minutes=1e-4, max_steps=None, num_sheet_rows=0, pipeline=False)
    train.train(brief)
    assert checkpoint.read(tmp_path).steps == 0


def test_an_acceleration_that_fails_costs_speed_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: Trainer) -> None:
        self._unet = lambda *question: None
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(Trainer, "compile", fail)
    with caplog.at_level(logging.ERROR):
        train.train(config(tmp_path, compile=True, num_sheet_rows=0, pipeline=False))
    assert "FALLBACK: torch.compile failed" in caplog.text
    assert "no compiler here" in caplog.text
    assert checkpoint.read(tmp_path).steps == 3


def test_a_checkpoint_is_written_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    honest = checkpoint.write

    def write(state: checkpoint.Checkpoint, path: Path) -> None:
        steps.append(state.steps)
        honest(state, path)

    monkeypatch.setattr(checkpoint, "write", write)
    train.train(
        config(tmp_path, max_steps=5, checkpoint_every_s=0.0, num_sheet_rows=0, pipeline=False)
    )
    assert steps == [2, 4, 5]


def test_the_rate_warms_up_and_falls_on_a_half_cosine(tmp_path: Path) -> None:
    plain = config(tmp_path, lr=1.0, lr_end=0.2, warm_up=10)
    assert [learning_rate(plain, n, 0.0) for n in (0, 4, 9, 10)] == [0.1, 0.5, 1.0, 1.0]
    late = [learning_rate(plain, 100, p) for p in (0.0, 0.25, 0.5, 1.0, 1.2)]
    assert late == pytest.approx([1.0, 0.8828, 0.6, 0.2, 0.2], abs=1e-4)
    assert learning_rate(replace(plain, warm_up=0), 0, 0.0) == 1.0


def test_the_running_mean_s_decay_is_ramped_to_its_final_value(tmp_path: Path) -> None:
    plain = config(tmp_path, step=StepConfig(batch=4, ema_decay=0.9))
    decays = [ema_decay(plain, n) for n in range(200)]
    assert decays[0] == 0.1
    assert decays[8] == 0.5
    assert decays == sorted(decays)
    assert decays[-1] == 0.9


@pytest.mark.parametrize(
    "changes", [{"minutes": 0.0}, {"pictures": 3}, {"lr": 1e-4, "lr_end": 1e-3}]
)
def test_impossible_settings_are_refused(tmp_path: Path, changes: dict) -> None:
    with pytest.raises(ValueError, match="expected minutes > 0, pictures >= batch and lr >="):
        config(tmp_path, **changes)


def test_the_command_line_says_what_to_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[TrainConfig] = []
    monkeypatch.setattr(train, "train", asked.append)
    monkeypatch.setattr(logging, "basicConfig", lambda **settings: None)
    train.main(["--out", str(tmp_path), "--device", "cpu"])
    flags = "--minutes 1.5 --pictures 64 --batch 8 --lr 1e-4 --lr-end 1e-5 --seed 3 --resume"
    flags += " --no-compile --no-graph --no-pipeline --max-steps 7 --device cpu"
    train.main(["--out", str(tmp_path), *flags.split()])
    assert asked[0] == TrainConfig(out=tmp_path, device="cpu")
    assert asked[1] == TrainConfig(
        out=tmp_path,
        device="cpu",
        minutes=1.5,
        pictures=64,
        step=StepConfig(batch=8),
        lr=1e-4,
        lr_end=1e-5,
        seed=3,
        resume=True,
        compile=False,
        graph=False,
        pipeline=False,
        max_steps=7,
    )


def test_a_run_can_start_from_a_pipeline(tmp_path: Path) -> None:
    teacher = build(SIZES, seed=9)
    save(teacher, tmp_path / "pipeline")
    out = tmp_path / "run"
    start = config(out, start=tmp_path / "pipeline", max_steps=0, num_sheet_rows=0, pipeline=False)
    train.train(start)
    found = checkpoint.read(out)
    expected = teacher.unet.conv_in.weight.detach().half().float()
    assert torch.equal(found.teacher.unet.conv_in.weight.detach(), expected)
    words = teacher.text_encoder.shared.weight.detach().half().float()
    # What could read already is not taught again.
    assert torch.equal(found.teacher.text_encoder.shared.weight.detach(), words)
    with pytest.raises(ValueError, match="resume or start, got both"):
        replace(start, resume=True)
