"""The threads of an actor, with an engine that obeys its prompts."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.export.asset import Asset
from pipeline import retry
from pipeline.actors.checkpointing import Checkpointing, read_checkpoint
from pipeline.actors.engine_port import EngineSpec
from pipeline.actors.publisher import Publisher
from pipeline.actors.worker import Worker
from pipeline.records import Attempt, Outcome, new_attempt_id
from tests.pipeline.fake_engine import (
    NUM_STEPS,
    SECONDS_PER_STEP,
    FakeEngine,
    FakeGang,
    MeetingEngine,
    Request,
    Scene,
)
from tests.pipeline.sample_assets import open_store, sample_task

SECONDS = 20
Start = Callable[..., tuple[Worker, FakeEngine]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts workers on one store and stops them at the end."""
    started: list[tuple[Worker, FakeEngine]] = []

    def make(
        engine: FakeEngine | None = None,
        *,
        every_seconds: float | None = None,
        num_exports: int = 1,
        **options: object,
    ) -> tuple[Worker, FakeEngine]:
        engine = engine or FakeEngine()
        store = open_store(str(tmp_path))
        publisher = Publisher(engine, store, num_exports=num_exports, store_delays=())
        checkpointing = Checkpointing(store, every_seconds=every_seconds)
        worker = Worker(engine, publisher, checkpointing, **options)  # pyright: ignore[reportArgumentType]
        started.append((worker, engine))
        return worker, engine

    yield make
    for worker, engine in started:
        engine.released.set()
        worker.stop()
    names = ("gang", "publish", "checkpoint")
    assert not [t for t in threading.enumerate() if t.name.startswith(names)]


def spec(*, num_slots: int, num_exports: int = 1) -> EngineSpec:
    return EngineSpec(
        recipe={},
        guidance="",
        guidance_digest="",
        num_slots=num_slots,
        num_threads=1,
        num_exports=num_exports,
    )


def attempt(number: int, prompt: str = "a ball", **changes: Any) -> Attempt:
    plain = Attempt(
        task=sample_task(number, prompt=f"{prompt} {number}"),
        attempt_id=f"{number:032x}",
        number=1,
        seed=number,
    )
    return replace(plain, **changes)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.001)


def outcomes(futures: list["Future[Outcome]"]) -> list[Outcome]:
    return [future.result(timeout=SECONDS) for future in futures]


def test_more_prompts_than_slots(start: Start, tmp_path: Path) -> None:
    worker, engine = start()
    began = time.monotonic()
    found = outcomes([worker.submit(attempt(k)) for k in range(5)])
    assert [outcome.status for outcome in found] == ["committed"] * 5
    assert open_store(str(tmp_path)).committed() == {outcome.asset_id for outcome in found}
    (gang,) = engine.gangs
    assert max(map(len, gang.companies)) == 2
    last = found[-1]
    assert set(last.stage_seconds) == {"wait", "optimise", "export", "commit"}
    assert all(seconds >= 0 for seconds in last.stage_seconds.values())
    assert last.stage_seconds["wait"] > found[0].stage_seconds["wait"]
    assert sum(last.stage_seconds.values()) <= time.monotonic() - began + 0.1
    assert (last.gpu_seconds, last.mesh_status) == (0.5, "ok")
    assert last.bytes_written > 0


def test_a_slot_is_taken_again_while_the_neighbour_goes_on(start: Start) -> None:
    worker, engine = start()
    first = worker.submit(attempt(0))
    until(lambda: engine.gangs[0].companies)
    futures = [worker.submit(attempt(1)), worker.submit(attempt(2))]
    outcomes([first, *futures])
    pairs = [frozenset(company) for company in engine.gangs[0].companies]
    assert {"a ball 0", "a ball 1"} in pairs
    assert {"a ball 1", "a ball 2"} in pairs


@pytest.mark.parametrize(
    ("prompt", "kind"), [("diverge", "diverged"), ("fade", "empty"), ("fill", "saturated")]
)
def test_a_scene_that_fails_fails_alone(start: Start, prompt: str, kind: str) -> None:
    worker, engine = start()
    good, bad = outcomes([worker.submit(attempt(0)), worker.submit(attempt(1, prompt))])
    assert good.status == "committed"
    assert (bad.status, bad.error_kind, bad.gpu_seconds) == ("failed", kind, 0.5)
    assert bad.message == "after 5 steps with seed 1"
    assert len(engine.gangs) == 1


def test_a_failed_export_is_reported(start: Start) -> None:
    worker, _ = start()
    (outcome,) = outcomes([worker.submit(attempt(0, "no export"))])
    assert (outcome.status, outcome.error_kind) == ("failed", "export")
    assert outcome.message == "ValueError: the mesh is not closed"


def num_berths(worker: Worker) -> int:
    """How many exports the worker makes at a time by now."""
    with worker._publisher._berths.one() as berth:
        return berth.number


def test_scenes_are_exported_at_the_same_time(start: Start, tmp_path: Path) -> None:
    worker, _ = start(MeetingEngine(spec(num_slots=3, num_exports=3)), num_exports=3)
    found = outcomes([worker.submit(attempt(k)) for k in range(6)])
    assert [outcome.status for outcome in found] == ["committed"] * 6
    assert open_store(str(tmp_path)).committed() == {outcome.asset_id for outcome in found}


def test_an_export_that_fails_takes_no_others_along(start: Start) -> None:
    worker, _ = start(MeetingEngine(spec(num_slots=3, num_exports=3)), num_exports=3)
    prompts = ("a ball", "no export", "a cube")
    found = outcomes([worker.submit(attempt(k, prompt)) for k, prompt in enumerate(prompts)])
    assert [outcome.error_kind for outcome in found] == [None, "export", None]


class Narrow(FakeEngine):
    """With memory for `room` exports at a time; the first six come all at once."""

    def __init__(self, room: int) -> None:
        super().__init__(spec(num_slots=6), step_seconds=0.001)
        self.together = threading.Barrier(6, action=lambda: setattr(self, "num_met", 6))
        self.num_met = 0
        self._memory = threading.BoundedSemaphore(room) if room else None
        self.num_refused = 0

    def export(self, finished: Scene, metadata: Mapping[str, str]) -> Asset:
        if not self.num_met:
            self.together.wait(SECONDS)
        if self._memory is None or not self._memory.acquire(blocking=False):
            self.num_refused += 1
            raise RuntimeError("CUDA out of memory. Tried to allocate 1 GiB")
        try:
            time.sleep(0.1)  # the others ask for theirs meanwhile
            return super().export(finished, metadata)
        finally:
            self._memory.release()


@pytest.mark.parametrize("room", [1, 3])
def test_exports_without_memory_beside_each_other_are_made_again_with_fewer(
    start: Start, room: int
) -> None:
    engine = Narrow(room)
    worker, _ = start(engine, num_exports=6)
    crowd = [worker.submit(attempt(k)) for k in range(6)]
    assert {outcome.status for outcome in outcomes(crowd)} == {"committed"}
    assert engine.num_met == 6
    assert engine.num_refused
    assert 1 <= num_berths(worker) <= (1 if room == 1 else 3)


def test_an_export_without_memory_alone_is_at_fault(start: Start) -> None:
    engine = Narrow(0)
    engine.num_met = 1
    worker, _ = start(engine, num_exports=6)
    (outcome,) = outcomes([worker.submit(attempt(0))])
    assert (outcome.error_kind, engine.num_refused) == ("out_of_memory", 1)
    assert num_berths(worker) == 6, "there was nobody to make room for"


class Lasting(FakeEngine):
    """Whose exports take until they may end."""

    def __init__(self, *, num_slots: int) -> None:
        super().__init__(spec(num_slots=num_slots), step_seconds=0.001)
        self.may_end = threading.Event()
        self.num_exports = 0

    def export(self, finished: Scene, metadata: Mapping[str, str]) -> Asset:
        self.num_exports += 1
        assert self.may_end.wait(SECONDS)
        return super().export(finished, metadata)


@pytest.mark.parametrize("num_slots", [4, 1])
def test_a_gang_without_memory_beside_exports_keeps_its_slots(start: Start, num_slots: int) -> None:
    worker, engine = start(Lasting(num_slots=num_slots), num_exports=4)
    assert isinstance(engine, Lasting)
    exported = [worker.submit(attempt(k)) for k in range(4)]
    until(lambda: engine.num_exports == 4)
    hungry = worker.submit(attempt(4, "too much memory"))
    time.sleep(0.1)
    assert not hungry.done(), "its gang is made anew when there is room"
    engine.may_end.set()
    assert hungry.result(SECONDS).error_kind == "gang_out_of_memory"
    assert {outcome.status for outcome in outcomes(exported)} == {"committed"}
    assert [gang.num_slots for gang in engine.gangs] == [num_slots] * 2
    assert num_berths(worker) == 2
    # With no export beside it the gang is at fault, or who is alone in it.
    (again,) = outcomes([worker.submit(attempt(5, "too much memory"))])
    assert again.error_kind == ("gang_out_of_memory" if num_slots > 1 else "out_of_memory")
    assert engine.gangs[-1].num_slots == max(1, num_slots // 2)
    assert num_berths(worker) == 2


def test_a_scene_that_waits_for_its_export_is_not_answered(start: Start) -> None:
    """So that the driver counts it among what the actor holds, and sends no more."""

    worker, engine = start(Lasting(num_slots=2))
    assert isinstance(engine, Lasting)
    futures = [worker.submit(attempt(k)) for k in range(4)]
    until(lambda: engine.gangs[0].num_free == 2 and worker.glance().fractions.values())
    until(lambda: len(engine.gangs[0].companies) == 2 * NUM_STEPS)
    until(lambda: set(worker.glance().fractions.values()) == {1.0})
    assert engine.num_exports == 1
    assert not any(future.done() for future in futures)
    engine.may_end.set()
    assert [outcome.status for outcome in outcomes(futures)] == ["committed"] * 4


def test_a_gang_that_breaks_under_one_scene_names_the_error(start: Start) -> None:
    worker, engine = start()
    (outcome,) = outcomes([worker.submit(attempt(0, "break"))])
    assert (outcome.status, outcome.error_kind) == ("failed", "internal")
    assert outcome.message == "RuntimeError: the gang is broken"
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
        def new_gang(self, *, num_slots: int, is_frugal: bool = False) -> FakeGang:
            if self.gangs:
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            return super().new_gang(num_slots=num_slots)

    broken = threading.Event()

    def leave() -> None:
        broken.set()
        raise SystemExit  # as os._exit does, this ends the thread at once

    worker, _ = start(Dying(), on_broken=leave)
    crowd = [worker.submit(attempt(k, "break")) for k in range(3)]
    assert broken.wait(SECONDS)
    # All were answered before: the driver has nobody left to blame for the death.
    kinds = [future.result(timeout=0).error_kind for future in crowd]
    assert kinds == ["suspect", "suspect", "preempted"]


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
            checkpoint: bytes | None = None,
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


def test_the_parts_of_every_step_are_passed_on_as_they_become_known(start: Start) -> None:
    steps: list[float] = []
    parts: list[tuple[str, float]] = []
    worker, _ = start(
        observe=lambda stage, seconds: steps.append(seconds) if stage == "step" else None,
        observe_part=lambda part, seconds: parts.append((part, seconds)),
    )
    outcomes([worker.submit(attempt(0))])
    # Those of the last step are asked for after the next one.
    assert Counter(part for part, _ in parts) == dict.fromkeys(
        ("unet", "field", "other"), NUM_STEPS - 1
    )
    for k, seconds in enumerate(steps[:-1]):
        told = dict(parts[3 * k : 3 * k + 3])
        assert told["unet"] == 6 * told["field"] == 6 * told["other"]
        assert 0.02 <= sum(told.values()) <= seconds
    outcomes([worker.submit(attempt(1))])
    assert Counter(part for part, _ in parts)["unet"] == 2 * NUM_STEPS - 1


def test_a_step_of_the_gang_is_a_step_of_each_of_its_scenes(start: Start) -> None:
    worker, engine = start(FakeEngine(step_seconds=0.05))
    earliest = time.monotonic()
    worker.glance()
    start_by = time.monotonic()
    outcomes([worker.submit(attempt(k)) for k in range(2)])
    end_after = time.monotonic()
    rate = worker.glance().steps_per_second
    latest = time.monotonic()
    companies = [len(company) for company in engine.gangs[0].companies]
    assert max(companies) == 2
    assert sum(companies) == 2 * NUM_STEPS
    assert 2 * NUM_STEPS / (latest - earliest) <= rate <= 2 * NUM_STEPS / (end_after - start_by)
    assert worker.glance().steps_per_second == 0.0


def test_a_glance(start: Start) -> None:
    worker, engine = start(FakeEngine(step_seconds=0.2))
    future = worker.submit(attempt(0))
    until(lambda: len(engine.gangs[0].companies) >= 3)
    glance = worker.glance()
    assert list(glance.fractions) == [attempt(0).task.asset_id]
    assert 0.2 <= glance.fractions[attempt(0).task.asset_id] <= 0.8
    assert 0 < glance.steps_per_second <= 6
    done = glance.fractions[attempt(0).task.asset_id] * NUM_STEPS * SECONDS_PER_STEP
    (unsaved,) = glance.unsaved_seconds.values()
    assert unsaved == pytest.approx(done, abs=SECONDS_PER_STEP * 1.01)
    assert list(glance.unsaved_seconds) == [attempt(0).task.asset_id]
    outcomes([future])
    assert dict(worker.glance().unsaved_seconds) == {}
    assert dict(worker.glance().fractions) == {}


def test_a_scene_on_its_way_out_is_all_done(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, engine = start()
    may_go = threading.Event()
    export = engine.export

    def slow(*arguments: Any) -> Any:
        assert may_go.wait(20)
        return export(*arguments)

    monkeypatch.setattr(engine, "export", slow)
    future = worker.submit(attempt(0))
    until(lambda: dict(worker.glance().fractions) == {attempt(0).task.asset_id: 1.0})
    may_go.set()
    outcomes([future])


def test_an_attempt_that_is_to_run_alone_gets_a_gang_of_one_slot(start: Start) -> None:
    worker, engine = start()
    plain = [worker.submit(attempt(k)) for k in range(3)]
    alone = worker.submit(attempt(3, alone=True))
    after = worker.submit(attempt(4))
    assert {outcome.status for outcome in outcomes([*plain, alone, after])} == {"committed"}
    assert [gang.num_slots for gang in engine.gangs] == [2, 1, 2]
    assert set().union(*engine.gangs[1].companies) == {"a ball 3"}


def test_a_gang_that_breaks_under_an_attempt_alone(start: Start) -> None:
    worker, engine = start()
    bad = worker.submit(attempt(0, "much memory", alone=True))
    good = worker.submit(attempt(1))
    assert [o.error_kind for o in outcomes([bad, good])] == ["out_of_memory", None]
    assert [gang.num_slots for gang in engine.gangs] == [2, 1, 2]


def test_a_gang_without_memory_is_halved_for_good(start: Start) -> None:
    worker, engine = start(FakeEngine(spec(num_slots=5)))
    crowd = [worker.submit(attempt(k, "memory" if k == 0 else "steps 9")) for k in range(3)]
    found = outcomes(crowd)
    assert [o.error_kind for o in found] == ["gang_out_of_memory"] * 3
    assert found[0].gpu_seconds == pytest.approx(SECONDS_PER_STEP), "of whole steps"
    again = [worker.submit(attempt(k, "memory" if k == 0 else "steps 9")) for k in range(3)]
    assert [o.error_kind for o in outcomes(again)][:2] == ["gang_out_of_memory"] * 2
    # A gang of one slot has room for it.
    assert outcomes([worker.submit(attempt(0, "memory"))])[0].status == "committed"
    assert [gang.num_slots for gang in engine.gangs] == [5, 2, 1]


class Small(FakeEngine):
    """Has no memory for a gang of more than `room` slots, from gang number `sound` on."""

    def __init__(self, room: int, *, sound: int = 0, num_slots: int = 5) -> None:
        super().__init__(spec(num_slots=num_slots))
        self._room = room
        self._sound = sound

    def new_gang(self, *, num_slots: int, is_frugal: bool = False) -> FakeGang:
        if len(self.gangs) >= self._sound and num_slots > self._room:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")
        return super().new_gang(num_slots=num_slots, is_frugal=is_frugal)


@pytest.mark.parametrize("room", [1, 2, 4])
def test_a_gang_is_built_with_as_many_slots_as_there_is_memory_for(start: Start, room: int) -> None:
    worker, engine = start(Small(room))
    found = outcomes([worker.submit(attempt(k)) for k in range(6)])
    assert {o.status for o in found} == {"committed"}
    assert [gang.num_slots for gang in engine.gangs] == [min(room, 2)]


def test_a_gang_that_cannot_be_built_again_is_made_smaller(start: Start) -> None:
    worker, engine = start(Small(1, sound=1))
    assert outcomes([worker.submit(attempt(0, "break"))])[0].error_kind == "internal"
    assert outcomes([worker.submit(attempt(1))])[0].status == "committed"
    assert [gang.num_slots for gang in engine.gangs] == [5, 1]


def test_a_device_without_room_for_one_scene_cannot_be_loaded(start: Start) -> None:
    engine = Small(0)
    with pytest.raises(MemoryError, match=r"fake .* has not the memory for one scene .*20 GiB"):
        start(engine)
    assert engine.gangs == []


def test_memory_that_is_too_little_for_one_is_that_one_s_fault(start: Start) -> None:
    worker, engine = start()
    (alone,) = outcomes([worker.submit(attempt(0, "much memory", alone=True))])
    assert alone.error_kind == "out_of_memory"
    (frugal,) = outcomes([worker.submit(attempt(0, "much memory", is_frugal=True))])
    assert frugal.status == "committed"
    (never,) = outcomes([worker.submit(attempt(1, "too much memory", is_frugal=True))])
    assert never.error_kind == "out_of_memory"
    shapes = [(gang.num_slots, gang.is_frugal) for gang in engine.gangs]
    assert shapes == [(2, False), (1, False), (2, False), (1, True), (2, False)]


def test_a_worker_with_work_that_does_not_move_is_stuck(start: Start) -> None:
    worker, engine = start(FakeEngine(step_seconds=0.001))
    time.sleep(1.0)
    assert worker.glance().stuck_seconds == 0, "an idle one is not"
    future = worker.submit(attempt(0, "hang"))
    assert worker.glance().stuck_seconds < 0.5, "idle time does not count"
    until(lambda: worker.glance().stuck_seconds > 0.7)
    engine.released.set()
    assert outcomes([future])[0].status == "committed"
    assert worker.glance().stuck_seconds == 0


def test_what_a_checkpoint_keeps_is_not_unsaved(start: Start, tmp_path: Path) -> None:
    worker, _ = start(every_seconds=0.0)
    future = worker.submit(attempt(0, "hang steps 3"))
    until(lambda: open_store(str(tmp_path)).checkpointed())
    until(lambda: list(worker.glance().unsaved_seconds.values()) == [0.0])
    assert not future.done()


def test_a_worker_that_leaves_saves_what_it_has(start: Start, tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    worker, engine = start(every_seconds=3600.0)
    futures = [worker.submit(attempt(k, "steps 500")) for k in range(3)]
    until(lambda: len(engine.gangs[0].companies) >= 5)
    worker.leave(SECONDS)
    late = worker.submit(attempt(3))
    found = [future.result(timeout=0) for future in [*futures, late]]
    assert {(o.status, o.error_kind) for o in found} == {("failed", "preempted")}
    assert [o.gpu_seconds for o in found] == [0.0] * 4
    steps = []
    for k, outcome in enumerate(found[:2]):
        data = store.read_checkpoint(outcome.asset_id)
        assert data is not None
        steps.append(json.loads(data)["iterations"])
        assert json.loads(data)["seed"] == k
    assert min(steps) >= 4
    assert store.checkpointed() == {o.asset_id for o in found[:2]}


def test_another_worker_goes_on_from_there(start: Start, tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    first, engine = start(every_seconds=3600.0)
    future = first.submit(attempt(0, "steps 30"))
    until(lambda: len(engine.gangs[0].companies) >= 10)
    first.leave(SECONDS)
    assert future.result(timeout=0).error_kind == "preempted"
    again = attempt(0, "steps 30", may_resume=True)
    checkpoint = read_checkpoint(store, again)
    assert checkpoint is not None
    num_kept = json.loads(checkpoint)["iterations"]
    second, other = start(every_seconds=3600.0)
    (outcome,) = outcomes([second.submit(again, checkpoint=checkpoint)])
    assert outcome.status == "committed"
    assert outcome.num_resumed_steps == num_kept >= 9
    assert len(other.gangs[0].companies) == 30 - num_kept
    assert outcome.gpu_seconds == pytest.approx(30 * SECONDS_PER_STEP)
    assert store.checkpointed() == set()


@pytest.mark.parametrize("checkpoint", [b"what is this", b'{"seed": 8, "iterations": 3}'])
def test_a_checkpoint_of_no_use_costs_nothing_but_a_warning(
    start: Start, caplog: pytest.LogCaptureFixture, checkpoint: bytes
) -> None:
    worker, engine = start()
    future = worker.submit(attempt(0, may_resume=True), checkpoint=checkpoint)
    (outcome,) = outcomes([future])
    assert (outcome.status, outcome.num_resumed_steps) == ("committed", 0)
    assert len(engine.gangs[0].companies) == NUM_STEPS
    (message,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert "starts from the beginning: " in message


def test_what_is_being_published_is_finished_before_leaving(start: Start, tmp_path: Path) -> None:
    class Slow(FakeEngine):
        is_exporting = threading.Event()

        def export(self, finished: Scene, metadata: Mapping[str, str]) -> Asset:
            self.is_exporting.set()
            time.sleep(0.2)
            return super().export(finished, metadata)

    worker, engine = start(Slow(step_seconds=0.001))
    assert isinstance(engine, Slow)
    future = worker.submit(attempt(0))
    assert engine.is_exporting.wait(SECONDS)
    worker.leave(SECONDS)
    assert future.result(timeout=0).status == "committed"


def test_leaving_takes_no_longer_than_it_may(start: Start, tmp_path: Path) -> None:
    worker, engine = start(every_seconds=3600.0)
    futures = [worker.submit(attempt(0, "hang")), worker.submit(attempt(1))]
    until(lambda: len(engine.gangs[0].companies) == 2)
    began = time.monotonic()
    worker.leave(0.3)
    assert time.monotonic() - began < 5.0
    found = [future.result(timeout=0) for future in futures]
    assert {o.error_kind for o in found} == {"preempted"}
    # One step of each is known to be done; no checkpoint keeps it.
    assert [o.gpu_seconds for o in found] == [SECONDS_PER_STEP] * 2
    assert open_store(str(tmp_path)).checkpointed() == set()


def test_a_worker_without_checkpoints_leaves_at_once(start: Start, tmp_path: Path) -> None:
    worker, engine = start(every_seconds=None)
    future = worker.submit(attempt(0, "steps 500"))
    until(lambda: len(engine.gangs[0].companies) >= 3)
    worker.leave(SECONDS)
    outcome = future.result(timeout=0)
    assert outcome.error_kind == "preempted"
    assert outcome.gpu_seconds >= 2 * SECONDS_PER_STEP
    assert open_store(str(tmp_path)).checkpointed() == set()


def follow(before: Attempt, history: list[str]) -> Attempt | None:
    """The next attempt after these failures, as the driver orders it; None if it is given up."""
    change = retry.decide(history).change
    if change is None:
        return None
    return replace(
        before,
        attempt_id=new_attempt_id(),
        may_resume=change != "new_seed",
        alone=before.alone or change in ("alone", "frugal"),
        is_frugal=before.is_frugal or change == "frugal",
    )


@pytest.mark.parametrize("seed", range(2))
def test_every_attempt_is_answered_once_whatever_happens(
    start: Start, tmp_path: Path, seed: int
) -> None:
    """Workers come and go under a crowd of good and bad prompts. Each asset is committed or given
    up for a reason of its own, and a committed one has no checkpoint."""
    dice, store = random.Random(seed), open_store(str(tmp_path))
    fates = ["a ball", "steps 40", "memory", "much memory", "diverge", "no export", "break"]
    pending = [attempt(k, fate) for k, fate in enumerate(dice.sample(fates * 2, 2 * len(fates)))]
    histories: dict[str, list[str]] = {a.task.asset_id: [] for a in pending}
    done, given_up = set(), set()
    leaves = [0.05, *(dice.uniform(0.0, 0.4) for _ in range(3))]
    engine = FakeEngine(spec(num_slots=4), step_seconds=0.002)
    worker, _ = start(engine, every_seconds=0.0)
    while pending:
        futures = [(a, worker.submit(a, checkpoint=read_checkpoint(store, a))) for a in pending]
        is_leaving = bool(leaves)
        if is_leaving:
            time.sleep(leaves.pop(0))
            worker.leave(dice.choice([0.0, 0.05, SECONDS]))
        pending = []
        for before, future in futures:
            outcome = future.result(timeout=SECONDS)
            asset_id = before.task.asset_id
            assert (outcome.asset_id, outcome.attempt_id) == (asset_id, before.attempt_id)
            if outcome.error_kind is None:
                done.add(asset_id)
                continue
            histories[asset_id].append(outcome.error_kind)
            after = follow(before, histories[asset_id])
            pending += [after] if after else []
            given_up |= set() if after else {asset_id}
        if is_leaving:
            worker.stop()
            worker, _ = start(engine, every_seconds=0.0)
    worker.stop()
    own = {"diverged", "export", "internal"}
    assert given_up == {k for k, kinds in histories.items() if own & {*kinds}}
    assert done == set(histories) - given_up
    assert done == store.committed()
    assert store.checkpointed() <= given_up
    kinds = {kind for history in histories.values() for kind in history}
    assert {"preempted", "gang_out_of_memory", "out_of_memory"} <= kinds
