"""From manifest to dataset with an encode stage, on a real cluster with the real engine; and what
the driver makes of a text actor that is silent, with calls that the test answers."""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine import recipes
from pipeline.actors import encode_stage
from pipeline.actors.encode_stage import EncodeStage
from pipeline.errors import RunError
from tests.clusters import Head
from tests.pipeline.fake_ray import Call, FakeRay, Handle, task_error, unavailable
from tests.pipeline.runs import dreambatch, rows, summary, write_hollow_weights, write_manifest
from tests.tiny_latent_pipeline import write_tiny_latent_pipeline


def run(
    head: Head, tmp_path: Path, weights: Path, *more: object
) -> subprocess.CompletedProcess[str]:
    manifest = write_manifest(
        tmp_path / "m.parquet",
        ["a red ball", "a blue ball", "a red ball"],
        negative_prompt=["", "ugly", ""],
        seed=[1, 2, 3],
    )
    common = ["--guidance", weights, "--metrics-port", 0, "--slots", 1]
    words = ["run", "--manifest", manifest, "--output", tmp_path / "out", *common, *more]
    return dreambatch(*words, environment=head.environment(), engine="real")


def test_prompts_become_assets_and_no_embedding_is_left(ray_head: Head, tmp_path: Path) -> None:
    """In latent space, with everything on that asks for more texts than one; for pixels see
    test_ray_job."""
    weights = write_tiny_latent_pipeline(tmp_path / "weights")
    recipe = recipes.get("smoke").to_dict()
    recipe["distillation"] |= {"perp_neg": True, "prompt_views": "interpolated", "clamp": 1.0}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    stale = tmp_path / "out" / "_embeddings" / "stale"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of a run that was killed")
    done = run(ray_head, tmp_path, weights, "--recipe", tmp_path / "recipe.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "constructor arguments" not in done.stderr, "a handle there makes Ray doubt restarts"
    found = rows(tmp_path / "out", "guidance", "negative_prompt", "seed")
    assert {(row["prompt"], row["seed"]) for row in found} == {
        ("a blue ball", 2),
        ("a red ball", 1),
        ("a red ball", 3),
    }
    assert {row["guidance"] for row in found} == {str(weights)}
    assert summary(tmp_path / "out")["exit_code"] == 0
    assert not (tmp_path / "out" / "_embeddings").exists()


def test_a_text_encoder_that_cannot_be_loaded_ends_the_run(ray_head: Head, tmp_path: Path) -> None:
    weights = write_hollow_weights(tmp_path / "weights")
    done = run(ray_head, tmp_path, weights, "--recipe", "smoke")
    assert done.returncode == 1, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert "the text encoder cannot be loaded: " in said or "no actor can work: " in said
    assert not (tmp_path / "out" / "_failures").exists()


class Bench:
    """A stage, its text actor, and a clock that the test turns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.ray = FakeRay()
        self.handle = Handle()
        monkeypatch.setattr(encode_stage, "ray", self.ray)
        self.wanted: Any = SimpleNamespace()
        self.stage = EncodeStage(self.handle, self.wanted, clock=lambda: self.now)

    def after(self, seconds: float) -> None:
        """Lets time pass, with a look every second."""
        for _ in range(round(seconds)):
            self.now += 1.0
            self.stage.check()

    def answer(self, reply: Any) -> None:
        """Answers the ping under way."""
        (ping,) = self.handle.ping.open
        ping.answer(reply)
        self.stage.check()

    @property
    def num_restarts(self) -> int:
        assert all(kill == (self.handle, False) for kill in self.ray.killed)
        return len(self.ray.killed)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_an_encoder_that_answers_is_left_alone(bench: Bench) -> None:
    bench.handle.load.open[0].answer(4711)
    replies = [0.0, 200.0, unavailable(), 299.0] * 5
    for reply in replies:
        bench.after(31)
        bench.answer(reply)
    assert bench.num_restarts == 0
    assert len(bench.handle.ping.calls) == len(replies)


def test_an_encoder_that_does_not_answer_is_restarted(bench: Bench) -> None:
    bench.after(329)
    assert bench.num_restarts == 0
    bench.after(3)
    assert bench.num_restarts == 1
    bench.after(31)
    assert len(bench.handle.ping.calls) == 2, "the new process is asked"


def test_an_encoder_that_is_stuck_in_a_batch_is_restarted(bench: Bench) -> None:
    bench.after(31)
    bench.answer(301.0)
    assert bench.num_restarts == 1


def test_an_encoder_that_hangs_again_and_again_ends_the_run(bench: Bench) -> None:
    with pytest.raises(RunError, match="the text encoder hung 4 times for 300 s"):
        bench.after(3600)
    assert bench.num_restarts == 3


def test_what_the_encoder_made_is_deleted_when_it_can_write_no_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []

    def wait(calls: list[Call], *, timeout: float) -> tuple[list[Call], list[Call]]:
        assert bench.ray.killed == [(bench.handle, True)]
        assert calls == bench.handle.ping.open
        happened.append("gone")
        return calls, []

    monkeypatch.setattr(bench.ray, "wait", wait)
    bench.wanted.clear = lambda: happened.append("deleted")
    bench.stage.clear()
    assert happened == ["gone", "deleted"]


def test_an_encoder_that_fails_to_load_ends_the_run_in_one_line(bench: Bench) -> None:
    bench.handle.load.open[0].answer(task_error(ValueError("cannot be read")))
    with pytest.raises(RunError, match=r"cannot be loaded: ValueError: cannot be read$") as caught:
        bench.stage.check()
    assert "\n" not in str(caught.value)
