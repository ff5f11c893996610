"""The two threads of an actor, with an engine that obeys its prompts."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.publisher import Publisher
from pipeline.records import Outcome
from pipeline.schedule import Attempt
from pipeline.worker import Worker
from tests.pipeline.fake_engine import NUM_STEPS, FakeEngine, FakeGang, Request
from tests.pipeline.sample_assets import open_store, sample_task

SECONDS = 20
Start = Callable[..., tuple[Worker, FakeEngine]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts workers on one store and stops them at the end."""
    workers: list[Worker] = []

    def make(engine: FakeEngine | None = None, **options: object) -> tuple[Worker, FakeEngine]:
        engine = engine or FakeEngine()
        publisher = Publisher(engine, open_store(str(tmp_path)), store_delays=())
        workers.append(Worker(engine, publisher, **options))  # pyright: ignore[reportArgumentType]
        return workers[-1], engine

    yield make
    for worker in workers:
        worker.stop()
    assert not [t for t in threading.enumerate() if t.name.startswith(("gang", "publish"))]


def attempt(number: int, prompt: str = "a ball") -> Attempt:
    return Attempt(
        task=sample_task(number, prompt=f"{prompt} {number}"),
        attempt_id=f"{number:032x}",
        number=1,
        seed=number,
    )


def outcomes(futures: list["Future[Outcome]"]) -> list[Outcome]:
    return [future.result(timeout=SECONDS) for future in futures]


def test_more_prompts_than_slots(start: Start, tmp_path: Path) -> None:
    worker, engine = start(node="n1")
    found = outcomes([worker.submit(attempt(k)) for k in range(5)])
    assert [outcome.status for outcome in found] == ["committed"] * 5
    assert open_store(str(tmp_path)).committed() == {outcome.asset_id for outcome in found}
    (gang,) = engine.gangs
    assert max(map(len, gang.companies)) == 2
    last = found[-1]
    assert set(last.stage_seconds) == {"wait", "optimise", "export", "commit"}
    assert all(seconds >= 0 for seconds in last.stage_seconds.values())
    assert last.stage_seconds["wait"] > found[0].stage_seconds["wait"]
    assert sum(last.stage_seconds.values()) <= last.wall_seconds + 0.1
    assert (last.node, last.device, last.mesh_status) == ("n1", engine.device, "ok")
    assert (last.iterations, last.gpu_seconds, dict(last.losses)) == (5, 0.5, {"sds": 0.25})
    assert last.bytes_written > 0


def test_a_slot_is_taken_again_while_the_neighbour_goes_on(start: Start) -> None:
    worker, engine = start()
    first = worker.submit(attempt(0))
    while not engine.gangs[0].companies:
        time.sleep(0.001)
    futures = [worker.submit(attempt(1)), worker.submit(attempt(2))]
    outcomes([first, *futures])
    pairs = [frozenset(company) for company in engine.gangs[0].companies]
    assert {"a ball 0", "a ball 1"} in pairs
    assert {"a ball 1", "a ball 2"} in pairs


def test_a_scene_that_fails_fails_alone(start: Start) -> None:
    worker, engine = start()
    good, bad = outcomes([worker.submit(attempt(0)), worker.submit(attempt(1, "diverge"))])
    assert good.status == "committed"
    assert (bad.status, bad.error_kind, bad.gpu_seconds) == ("failed", "diverged", 0.5)
    assert bad.message == "after 5 steps with seed 1"
    assert len(engine.gangs) == 1


def test_a_failed_export_is_reported(start: Start) -> None:
    worker, _ = start()
    (outcome,) = outcomes([worker.submit(attempt(0, "no export"))])
    assert (outcome.status, outcome.error_kind) == ("failed", "export")
    assert outcome.message == "ValueError: the mesh is not closed"


@pytest.mark.parametrize(("word", "kind"), [("break", "internal"), ("memory", "out_of_memory")])
def test_a_gang_that_breaks_under_one_scene_names_the_error(
    start: Start, word: str, kind: str
) -> None:
    worker, engine = start()
    (outcome,) = outcomes([worker.submit(attempt(0, word))])
    assert (outcome.status, outcome.error_kind) == ("failed", kind)
    assert outcome.message is not None
    assert outcome.message.startswith("RuntimeError: ")
    assert len(engine.gangs) == 2


def test_a_gang_that_breaks_under_several_makes_suspects_and_goes_on(start: Start) -> None:
    worker, engine = start()
    futures = [worker.submit(attempt(0, "break")), worker.submit(attempt(1))]
    waiting = worker.submit(attempt(2))
    assert Counter(outcome.error_kind for outcome in outcomes(futures)) == {"suspect": 2}
    assert outcomes([waiting])[0].status == "committed"
    assert len(engine.gangs) == 2


# The thread ends by SystemExit where the process would end, and pytest takes note.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_device_that_is_broken_for_good_ends_the_process(start: Start) -> None:
    class Dying(FakeEngine):
        def new_gang(self, *, is_single: bool = False) -> FakeGang:
            if self.gangs:
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            return super().new_gang()

    broken = threading.Event()

    def leave() -> None:
        broken.set()
        raise SystemExit  # as os._exit does, this ends the thread at once

    worker, _ = start(Dying(), on_broken=leave)
    future = worker.submit(attempt(0, "break"))
    assert broken.wait(SECONDS)
    assert not future.done(), "the driver learns it from the death"


def test_a_request_that_the_gang_refuses(start: Start) -> None:
    class Refusing(FakeEngine):
        def request(
            self,
            *,
            key: str,
            prompt: str,
            negative_prompt: str,
            seed: int,
            text: bytes | None = None,
        ) -> Request:
            if "refuse" in prompt:
                raise ValueError("no such word")
            return super().request(
                key=key, prompt=prompt, negative_prompt=negative_prompt, seed=seed, text=text
            )

    worker, _ = start(Refusing())
    (outcome,) = outcomes([worker.submit(attempt(0, "refuse"))])
    assert (outcome.error_kind, outcome.message) == ("internal", "ValueError: no such word")
    assert outcomes([worker.submit(attempt(1))])[0].status == "committed"


def test_stages_are_observed(start: Start) -> None:
    seen: list[tuple[str, float]] = []
    worker, _ = start(observe=lambda stage, seconds: seen.append((stage, seconds)))
    outcomes([worker.submit(attempt(0))])
    assert Counter(stage for stage, _ in seen) == {
        "admit": 1,
        "step": NUM_STEPS,
        "export": 1,
        "commit": 1,
    }


def test_a_glance(start: Start) -> None:
    worker, engine = start(FakeEngine(step_seconds=0.2))
    future = worker.submit(attempt(0))
    while len(engine.gangs[0].companies) < 3:
        time.sleep(0.005)
    glance = worker.glance()
    assert list(glance.fractions) == [attempt(0).task.asset_id]
    assert 0.2 <= glance.fractions[attempt(0).task.asset_id] <= 0.8
    assert 0 < glance.steps_per_second <= 6
    outcomes([future])
    assert dict(worker.glance().fractions) == {}


def test_an_attempt_that_is_to_run_alone_gets_a_gang_of_one_slot(start: Start) -> None:
    worker, engine = start()
    plain = [worker.submit(attempt(k)) for k in range(3)]
    alone = worker.submit(replace(attempt(3), alone=True))
    after = worker.submit(attempt(4))
    assert {outcome.status for outcome in outcomes([*plain, alone, after])} == {"committed"}
    assert [gang.num_slots for gang in engine.gangs] == [2, 1, 2]
    assert set().union(*engine.gangs[1].companies) == {"a ball 3"}


def test_a_gang_that_breaks_under_an_attempt_alone(start: Start) -> None:
    worker, engine = start()
    bad = worker.submit(replace(attempt(0, "memory"), alone=True))
    good = worker.submit(attempt(1))
    assert [o.error_kind for o in outcomes([bad, good])] == ["out_of_memory", None]
    assert [gang.num_slots for gang in engine.gangs] == [2, 1, 2]
