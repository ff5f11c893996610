"""The actor's methods as Ray calls them, with the real engine; Ray itself is in test_driver."""

import asyncio
import io
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pyarrow.parquet as pq
import pytest
import ray
import ray.util.metrics
from PIL import Image

from engine import recipes
from engine.guidance import files
from pipeline.actor import OptimizationActor
from pipeline.actors import preparation
from pipeline.actors.engine_port import EngineSpec, load_engine
from pipeline.metrics import METRICS, PREFIX
from pipeline.records import Attempt, Outcome
from pipeline.store import asset_name
from tests.pipeline.fake_engine import SECONDS_PER_STEP, FakeEngine, MeetingEngine, unloadable
from tests.pipeline.sample_assets import open_store, sample_task


class FakeHistogram:
    """Takes the place of `ray.util.metrics.Histogram`; keeps what is observed, and under which
    labels."""

    seen: ClassVar[list[tuple[str, dict[str, str]]]] = []

    def __init__(
        self, name: str, description: str, *, boundaries: list[float], tag_keys: tuple[str, ...]
    ) -> None:
        self._name = name
        metric = METRICS[name.removeprefix(PREFIX)]
        assert metric.owner == "actor"
        assert metric.full_name == f"ray_{name}"
        assert (tuple(boundaries), description) == (metric.buckets, metric.help)
        assert tag_keys == tuple(metric.labels)

    def observe(self, value: float, *, tags: dict[str, str]) -> None:
        assert value >= 0
        self.seen.append((self._name.removeprefix(PREFIX), tags))


@pytest.fixture
def _in_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an actor asks of the Ray process around it."""
    context = SimpleNamespace(get_node_id=lambda: "node-1")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(ray.util.metrics, "Histogram", FakeHistogram)
    monkeypatch.setattr(FakeHistogram, "seen", [])


def naive_opacity(views: list[dict[str, Any]]) -> float:
    """Pixel by pixel, as in the row of the dataset."""
    pictures = [Image.open(io.BytesIO(view["image"]["bytes"])) for view in views]
    pixels: list[Any] = [rgba for picture in pictures for rgba in picture.get_flattened_data()]
    alphas = [rgba[3] / 255 for rgba in pixels]
    return sum(alphas) / len(alphas)


def spec(weights: Path) -> EngineSpec:
    return EngineSpec(
        recipe=recipes.get("smoke").to_dict(),
        guidance=str(weights),
        guidance_digest=files.digest(weights),
        num_slots=2,
        num_threads=1,
    )


@pytest.mark.usefixtures("_in_ray")
def test_three_prompts_in_two_slots(tiny_weights: Path, tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    tasks = [sample_task(k, prompt=p) for k, p in enumerate(["a red ball", "a blue ball", "red"])]
    attempts = [
        Attempt(task=task, attempt_id=f"{k:032x}", number=1, seed=k) for k, task in enumerate(tasks)
    ]

    async def serve() -> list[Outcome]:
        actor = OptimizationActor(load_engine, spec(tiny_weights), store)
        assert await actor.ping() == ("node-1", os.getpid())
        facts, again = await asyncio.gather(actor.load(), actor.load())
        assert facts == again
        assert (facts.node, facts.pid, facts.device) == ("node-1", os.getpid(), "cpu")
        outcomes = await asyncio.gather(*map(actor.optimize, attempts))
        assert dict((await actor.progress()).fractions) == {}
        await actor.stop()
        return outcomes

    outcomes = asyncio.run(serve())
    assert [outcome.status for outcome in outcomes] == ["committed"] * 3
    for attempt in attempts:
        (row,) = pq.read_table(tmp_path / asset_name(attempt.task.asset_id)).to_pylist()
        assert row["attempt_id"] == attempt.attempt_id
        assert row["iterations"] == recipes.get("smoke").iterations
        assert len(row["views"]) == recipes.get("smoke").export.num_views
        (outcome,) = [o for o in outcomes if o.asset_id == attempt.task.asset_id]
        assert (outcome.mesh_status, outcome.mesh_faces) == (row["mesh_status"], row["mesh_faces"])
        assert {f"loss_{n}": x for n, x in outcome.losses.items()} == {
            name: value for name, value in row.items() if name.startswith("loss_")
        }
        assert outcome.opacity is not None
        assert outcome.opacity == pytest.approx(naive_opacity(row["views"]), abs=1e-12)
        assert 0.0 < outcome.opacity < 1.0
    counts = Counter((name, *tags.items()) for name, tags in FakeHistogram.seen)
    assert {(name, *labels) for name, *labels in counts} == {
        (metric.name, (label, value))
        for metric in METRICS.values()
        if metric.owner == "actor"
        for label, values in metric.labels.items()
        for value in values
        # This model's pictures are what it works on; it has no image encoder.
        if value != "vae"
    }
    # On a CPU a step's parts are known when it has been made.
    steps = counts["actor_stage_seconds", ("stage", "step")]
    assert all(n == steps for (name, _), n in counts.items() if name == "actor_step_part_seconds")


@pytest.mark.usefixtures("_in_ray")
def test_an_engine_that_fails_to_load_fails_the_call_and_may_be_called_again(
    tmp_path: Path,
) -> None:
    async def serve() -> None:
        actor = OptimizationActor(unloadable, spec_of_nothing(), open_store(str(tmp_path)))
        for _ in range(2):
            with pytest.raises(ValueError, match="cannot be read"):
                await actor.load()
        await actor.stop()

    asyncio.run(serve())


def spec_of_nothing() -> EngineSpec:
    return EngineSpec(recipe={}, guidance="", guidance_digest="", num_slots=1, num_threads=1)


@pytest.mark.usefixtures("_in_ray")
def test_an_actor_makes_as_many_exports_at_a_time_as_it_is_told(tmp_path: Path) -> None:
    spec = replace(spec_of_nothing(), num_slots=3, num_exports=3)
    attempts = [
        Attempt(task=sample_task(k), attempt_id=f"{k:032x}", number=1, seed=k) for k in range(3)
    ]

    async def serve() -> list[Outcome]:
        actor = OptimizationActor(MeetingEngine, spec, open_store(str(tmp_path)))
        await actor.load()
        outcomes = await asyncio.gather(*map(actor.optimize, attempts))
        await actor.stop()
        return outcomes

    assert [outcome.status for outcome in asyncio.run(serve())] == ["committed"] * 3


class SilentEncoder:
    """The handle of a text actor that never answers."""

    class embed:
        @staticmethod
        async def remote(texts: tuple[str, ...]) -> None:
            await asyncio.Event().wait()


@pytest.mark.usefixtures("_in_ray")
def test_an_actor_that_leaves_answers_all_and_another_goes_on(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    spec = replace(spec_of_nothing(), checkpoint_seconds=3600.0)
    engine = FakeEngine(spec)
    task = sample_task(0, prompt="steps 60")
    first = Attempt(task=task, attempt_id="a" * 32, number=1, seed=5)
    again = replace(first, attempt_id="b" * 32, number=2, may_resume=True)

    async def serve() -> tuple[Outcome, Outcome, Outcome]:
        actor = OptimizationActor(lambda _: engine, spec, store)
        await actor.leave()  # before it is loaded there is nothing to save
        await actor.load()
        running = asyncio.create_task(actor.optimize(first))
        while not engine.gangs[0].companies:
            await asyncio.sleep(0.005)
        await actor.leave()
        left, late = await running, await actor.optimize(again)
        await actor.stop()
        other = OptimizationActor(FakeEngine, spec, store)
        await other.load()
        done = await other.optimize(again)
        await other.stop()
        return left, late, done

    left, late, done = asyncio.run(serve())
    assert (left.error_kind, late.error_kind) == ("preempted", "preempted")
    assert done.status == "committed"
    assert done.num_resumed_steps > 0
    assert done.gpu_seconds == pytest.approx(60 * SECONDS_PER_STEP)
    assert store.checkpointed() == set()


def fake_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The texts that are asked for, whatever the recipe."""
    monkeypatch.setattr(preparation, "texts_asked", lambda spec, prompt: ("a ball",))
    monkeypatch.setattr(preparation, "entry_of", lambda spec, prompt: "0" * 32)


@pytest.mark.usefixtures("_in_ray")
def test_an_attempt_whose_texts_do_not_come_is_stuck_and_then_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_texts(monkeypatch)
    spec = replace(spec_of_nothing(), texts_seconds=0.3)
    attempt = Attempt(task=sample_task(0), attempt_id="a" * 32, number=1, seed=5)

    async def serve() -> tuple[float, Outcome, float]:
        store = open_store(str(tmp_path))
        actor = OptimizationActor(FakeEngine, spec, store)
        await actor.load(SilentEncoder())
        running = asyncio.create_task(actor.optimize(attempt))
        await asyncio.sleep(0.1)
        waiting = (await actor.progress()).stuck_seconds
        outcome = await asyncio.wait_for(running, timeout=20)
        after = (await actor.progress()).stuck_seconds
        await actor.stop()
        return waiting, outcome, after

    waiting, outcome, after = asyncio.run(serve())
    assert waiting > 0.05
    assert after == 0.0
    assert (outcome.status, outcome.error_kind) == ("failed", "encode")
    assert (outcome.asset_id, outcome.attempt_id) == (attempt.task.asset_id, attempt.attempt_id)


@pytest.mark.usefixtures("_in_ray")
def test_an_attempt_that_waits_for_its_texts_leaves_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_texts(monkeypatch)
    store = open_store(str(tmp_path))
    attempt = Attempt(task=sample_task(0), attempt_id="a" * 32, number=1, seed=5)

    async def serve() -> Outcome:
        actor = OptimizationActor(FakeEngine, spec_of_nothing(), store)
        await actor.load(SilentEncoder())
        running = asyncio.create_task(actor.optimize(attempt))
        await asyncio.sleep(0.05)
        assert not running.done()
        await actor.leave()
        outcome = await asyncio.wait_for(running, timeout=20)
        await actor.stop()
        return outcome

    assert asyncio.run(serve()).error_kind == "preempted"
