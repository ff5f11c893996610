from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.guidance import files
from engine.primitives import checkpoint
from engine.primitives.checkpoint import Checkpoint
from engine.primitives.teacher import build, save
from tests.engine.primitives.tiny import SIZES


@pytest.fixture
def state() -> Checkpoint:
    return Checkpoint(teacher=build(SIZES, seed=3), config=SIZES, steps=41, seconds=7.5)


def weights(state: Checkpoint) -> dict[str, torch.Tensor]:
    return {
        **{f"unet.{k}": v for k, v in state.teacher.unet.named_parameters()},
        **{f"text.{k}": v for k, v in state.teacher.text_encoder.named_parameters()},
    }


def test_what_is_written_is_read(state: Checkpoint, tmp_path: Path) -> None:
    checkpoint.write(state, tmp_path)
    found = checkpoint.read(tmp_path)
    assert (found.config, found.steps, found.seconds) == (SIZES, 41, 7.5)
    expected, mine = weights(state), weights(found)
    assert mine.keys() == expected.keys()
    for name, weight in mine.items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, expected[name].half().float()), name
    assert not list(tmp_path.glob("*.part"))


def test_shards_hold_everything_once_and_no_more_than_they_may(
    state: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SHARD_BYTES", 20_000)
    checkpoint.write(state, tmp_path)
    shards = list(tmp_path.glob("weights-*.safetensors"))
    assert len(shards) > 3
    assert max(path.stat().st_size for path in shards) < 20_000 + 65536
    assert weights(checkpoint.read(tmp_path)).keys() == weights(state).keys()


def test_shards_of_a_larger_predecessor_are_gone(
    state: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as small:
        small.setattr(checkpoint, "SHARD_BYTES", 20_000)
        checkpoint.write(replace(state, teacher=build(SIZES, seed=4)), tmp_path)
    assert len(list(tmp_path.glob("weights-*.safetensors"))) > 3
    checkpoint.write(state, tmp_path)
    assert [path.name for path in tmp_path.glob("weights-*")] == ["weights-1.safetensors"]
    expected = weights(state)
    for name, weight in weights(checkpoint.read(tmp_path)).items():
        assert torch.equal(weight, expected[name].half().float())


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no checkpoint.*train without --resume"):
        checkpoint.read(tmp_path)


def test_weights_that_do_not_fit_are_refused(
    state: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SHARD_BYTES", 20_000)
    checkpoint.write(state, tmp_path)
    (tmp_path / "weights-2.safetensors").unlink()
    with pytest.raises(ValueError, match=r"do not fit checkpoint.json: first differences"):
        checkpoint.read(tmp_path)


def test_the_command_turns_a_checkpoint_into_a_pipeline(state: Checkpoint, tmp_path: Path) -> None:
    checkpoint.write(state, tmp_path / "run")
    checkpoint.main([str(tmp_path / "run"), str(tmp_path / "pipeline")])
    files.check(tmp_path / "pipeline")


def test_a_pipeline_becomes_what_it_was_made_of(state: Checkpoint, tmp_path: Path) -> None:
    save(state.teacher, tmp_path)
    found = checkpoint.of_pipeline(tmp_path, SIZES)
    expected, mine = weights(state), weights(found)
    assert mine.keys() == expected.keys()
    for name, weight in mine.items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, expected[name].half().float()), name


def test_a_pipeline_of_other_sizes_is_refused(state: Checkpoint, tmp_path: Path) -> None:
    save(state.teacher, tmp_path)
    with pytest.raises(ValueError, match="other sizes than TeacherConfig"):
        checkpoint.of_pipeline(tmp_path, replace(SIZES, text_layers=SIZES.text_layers + 1))
