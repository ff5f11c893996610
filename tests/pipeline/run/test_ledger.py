"""Every event is counted once, in totals, metrics, display and store."""

import io
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.dataset.failure_log import FailureLog
from pipeline.errors import RunError
from pipeline.fleet.fleet import Lost
from pipeline.metrics import JobMetrics
from pipeline.records import Attempt, Failure, Glance, Outcome
from pipeline.retry import Decision
from pipeline.run.ledger import Ledger
from pipeline.run.progress import LINE_SECONDS, LineDisplay
from pipeline.run.schedule import Failed, Schedule
from tests.pipeline.sample_assets import open_store, sample_task


class Bench:
    """A ledger of three tasks with a clock of its own."""

    def __init__(self, tmp_path: Path, *, log: FailureLog | None = None) -> None:
        self.now = 100.0
        self.stream = io.StringIO()
        self.metrics = JobMetrics()
        self.store = open_store(str(tmp_path))
        self.ledger = Ledger(
            self.store,
            LineDisplay(self.stream, clock=lambda: self.now),
            self.metrics,
            num_tasks=3,
            log=log,
            clock=lambda: self.now,
        )

    def count(self, name: str) -> float:
        return self.metrics.totals()["dreambatch_" + name]

    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def attempt(number: int) -> Attempt:
    return Attempt(task=sample_task(number), attempt_id=f"{number:032x}", number=1, seed=1)


def outcome(attempt: Attempt, status: str = "committed", **facts: object) -> Outcome:
    facts = {"gpu_seconds": 2.0, "bytes_written": 10, "stage_seconds": {"export": 1.5}} | facts
    return Outcome(
        asset_id=attempt.task.asset_id,
        attempt_id=attempt.attempt_id,
        status=status,  # pyright: ignore[reportArgumentType]
        **facts,  # pyright: ignore[reportArgumentType]
    )


def test_a_committed_asset(bench: Bench) -> None:
    bench.ledger.ordered(attempt(0))
    bench.now += 70
    bench.ledger.committed(attempt(0).task, outcome(attempt(0)))
    totals = bench.ledger.totals
    assert (totals.num_committed, totals.num_done, totals.gpu_seconds) == (1, 1, 2.0)
    assert totals.bytes_written == bench.count("output_bytes_total") == 10
    assert bench.count('assets_total{status="committed"}') == 1
    assert bench.count('attempts_total{outcome="committed"}') == 1
    assert bench.count("asset_seconds_sum") == 70
    assert bench.count('stage_seconds_sum{stage="export"}') == 1.5
    assert bench.count("last_commit_timestamp_seconds") > 1e9
    assert bench.lines() == ["[1/3] committed 'a red ball, number 0' in 1 min 10 s"]


DESCRIBED = {
    "losses": {"sds": -250.0, "entropy": 0.02},
    "opacity": 0.25,
    "mesh_status": "ok",
    "mesh_faces": 1500,
}


def told(bench: Bench) -> dict[str, float]:
    """How many assets were told of, by metric."""
    return {
        name.removeprefix("dreambatch_"): value
        for name, value in bench.metrics.totals().items()
        if value and name.startswith(("dreambatch_asset_", "dreambatch_meshes_"))
        if "_count" in name or "_total" in name
    }


def test_what_an_asset_is_like(bench: Bench) -> None:
    changes: list[dict[str, object]] = [
        {},
        {"opacity": 0.75, "mesh_status": "empty", "mesh_faces": 0},
    ]
    for number, change in enumerate(changes):
        bench.ledger.ordered(attempt(number))
        made = outcome(attempt(number), **{**DESCRIBED, **change})
        bench.ledger.committed(attempt(number).task, made)
    assert told(bench) == {
        "asset_seconds_count": 2,
        'asset_loss_count{loss="sds"}': 2,
        'asset_loss_count{loss="entropy"}': 2,
        "asset_opacity_count": 2,
        "asset_mesh_faces_count": 1,
        'meshes_total{status="ok"}': 1,
        'meshes_total{status="empty"}': 1,
    }
    assert bench.count("asset_opacity_sum") == 1.0
    assert bench.count("asset_mesh_faces_sum") == 1500


def test_only_what_lies_in_the_store_is_described(bench: Bench) -> None:
    """What another run had committed first is not what this attempt made."""
    bench.ledger.ordered(attempt(0))
    bench.ledger.committed(attempt(0).task, outcome(attempt(0), "duplicate", **DESCRIBED))
    bench.ledger.ordered(attempt(1))
    bench.ledger.committed(attempt(1).task, outcome(attempt(1)))
    assert told(bench) == {"asset_seconds_count": 2}


def test_what_was_resumed_is_said(bench: Bench) -> None:
    bench.ledger.ordered(attempt(0))
    bench.ledger.committed(attempt(0).task, outcome(attempt(0), num_resumed_steps=40))
    assert bench.lines()[0].endswith(", resumed at step 40")


def test_an_asset_that_another_run_committed(bench: Bench) -> None:
    bench.ledger.ordered(attempt(0))
    bench.ledger.committed(attempt(0).task, outcome(attempt(0), "duplicate", bytes_written=0))
    assert (bench.ledger.totals.num_duplicate, bench.ledger.totals.num_committed) == (1, 0)
    assert bench.ledger.totals.num_done == 1
    assert bench.count("commit_conflicts_total") == 1
    assert bench.count('gpu_seconds_total{outcome="duplicate"}') == 2.0
    assert bench.count("last_commit_timestamp_seconds") == 0


def test_the_time_of_an_asset_counts_from_its_first_order(bench: Bench) -> None:
    bench.ledger.ordered(attempt(0))
    bench.now += 10
    retry = Failed(
        attempt=attempt(0), kind="store", message="503", decision=Decision(change="same")
    )
    bench.ledger.failed(retry, gpu_seconds=1.0)
    bench.ledger.ordered(attempt(0))
    bench.now += 5
    bench.ledger.committed(attempt(0).task, outcome(attempt(0)))
    assert bench.count("asset_seconds_sum") == 15
    assert bench.count('retries_total{kind="store"}') == 1
    assert bench.ledger.totals.gpu_seconds == 3.0


def test_a_charged_failure_is_kept_and_a_suspicion_is_not(bench: Bench) -> None:
    for number, kind in enumerate(("diverged", "suspect")):
        bench.ledger.ordered(attempt(number))
        failed = Failed(
            attempt=attempt(number), kind=kind, message="m", decision=Decision(change="alone")
        )
        bench.ledger.failed(failed, gpu_seconds=1.0)
    (kept,) = bench.store.failures()
    assert (kept.error_kind, kept.quarantined, kept.attempts) == ("diverged", False, 1)
    assert bench.count('attempts_total{outcome="failed"}') == 1
    assert bench.count('attempts_total{outcome="lost"}') == 1
    assert bench.count('gpu_seconds_total{outcome="lost"}') == 1
    assert bench.ledger.totals.num_failed_attempts == 2


def test_a_quarantined_asset(bench: Bench) -> None:
    bench.ledger.ordered(attempt(0))
    failed = Failed(
        attempt=attempt(0), kind="export", message="no\nmesh", decision=Decision(change=None)
    )
    bench.ledger.failed(failed)
    (kept,) = bench.store.failures()
    assert (kept.asset_id, kept.quarantined) == (attempt(0).task.asset_id, True)
    assert bench.ledger.totals.num_quarantined == 1
    assert bench.count('assets_total{status="quarantined"}') == 1
    assert bench.lines() == [
        "[1/3] quarantined 'a red ball, number 0' after 1 attempts, export: no"
    ]


def turned(bench: Bench, schedule: Schedule, *, is_last: bool = False) -> None:
    bench.ledger.turned(
        schedule, num_ready=2, num_coming=3, num_leaving=1, busy=0.01, is_last=is_last
    )


def test_a_turn_of_the_loop_shows_where_everything_is(bench: Bench) -> None:
    schedule = Schedule([sample_task(k) for k in range(3)], num_tasks=3, num_slots=1)
    schedule.join("a")
    for _ in range(2):
        order = schedule.next()
        assert order is not None
        bench.ledger.ordered(order[1])
    glance = Glance(
        fractions={sample_task(0).asset_id: 0.5, "an asset that is over": 1.0},
        steps_per_second=4.0,
        stuck_seconds=7.0,
    )
    bench.ledger.glimpsed("a", glance)
    bench.now += LINE_SECONDS
    turned(bench, schedule)
    queue = {state: bench.count(f'queue{{state="{state}"}}') for state in ("waiting", "running")}
    assert queue == {"waiting": 1, "running": 2}
    slots = {s: bench.count(f'slots{{state="{s}"}}') for s in ("busy", "free", "down")}
    assert slots == {"busy": 2, "free": 0, "down": 3}
    actors = {s: bench.count(f'actors{{state="{s}"}}') for s in ("ready", "coming", "leaving")}
    assert actors == {"ready": 2, "coming": 3, "leaving": 1}
    assert bench.count("stuck_seconds") == 7.0
    assert bench.count("steps_per_second") == 4.0
    assert bench.count("driver_loop_seconds_count") == 1
    (line,) = bench.lines()
    assert line.startswith("0/3 assets, 1 running (50 %)")
    assert "4.0 steps/s" in line
    bench.ledger.lost_sight("a")
    bench.now += LINE_SECONDS
    turned(bench, schedule)
    assert "running" not in bench.lines()[-1]
    assert bench.count("stuck_seconds") == 0.0
    assert bench.count("steps_per_second") == 0.0


def test_steps_of_all_actors_while_anything_runs(bench: Bench) -> None:
    schedule = Schedule([sample_task(0)], num_tasks=3, num_slots=1)
    schedule.join("a")
    order = schedule.next()
    assert order is not None
    for actor, rate in (("a", 4.0), ("b", 1.5)):
        bench.ledger.glimpsed(actor, Glance(steps_per_second=rate))
    turned(bench, schedule)
    assert bench.count("steps_per_second") == 5.5
    schedule.settle("a", outcome(order[1]))
    bench.now += LINE_SECONDS
    turned(bench, schedule, is_last=True)
    assert bench.count("steps_per_second") == 0.0
    assert "steps/s" not in bench.lines()[-1]


def test_what_looks_at_everything_is_shown_now_and_then_and_at_the_end(bench: Bench) -> None:
    schedule = Schedule([sample_task(0)], num_tasks=1, num_slots=1)
    turned(bench, schedule)
    bench.ledger.glimpsed("a", Glance(stuck_seconds=7.0))
    bench.now += 0.1
    turned(bench, schedule)
    assert bench.count("stuck_seconds") == 0.0
    turned(bench, schedule, is_last=True)
    assert bench.count("stuck_seconds") == 7.0
    assert bench.count("driver_loop_seconds_count") == 3


def test_device_time_is_useful_or_wasted_by_cause(bench: Bench) -> None:
    for number in range(3):
        bench.ledger.ordered(attempt(number))
    for kind, seconds in (("preempted", 1.0), ("node_lost", 4.0), ("preempted", 2.0)):
        failed = Failed(
            attempt=attempt(0), kind=kind, message="m", decision=Decision(change="same")
        )
        bench.ledger.failed(failed, gpu_seconds=seconds)
    bench.ledger.committed(attempt(0).task, outcome(attempt(0), gpu_seconds=10.0))
    bench.ledger.committed(attempt(1).task, outcome(attempt(1), "duplicate", gpu_seconds=5.0))
    totals = bench.ledger.totals
    assert totals.gpu_seconds_useful == 10.0
    assert totals.gpu_seconds_wasted == {"preempted": 3.0, "node_lost": 4.0, "duplicate": 5.0}
    assert totals.gpu_seconds == 22.0
    for cause, seconds in totals.gpu_seconds_wasted.items():
        assert bench.count(f'wasted_gpu_seconds_total{{cause="{cause}"}}') == seconds
    by_outcome = {
        name: bench.count(f'gpu_seconds_total{{outcome="{name}"}}')
        for name in ("committed", "duplicate", "failed", "lost", "preempted")
    }
    assert by_outcome == {
        "committed": 10.0,
        "duplicate": 5.0,
        "failed": 0.0,
        "lost": 4.0,
        "preempted": 3.0,
    }
    assert totals.num_failed_attempts == 1, "whoever had to go has not failed"
    assert not [line for line in bench.lines() if line.startswith("preempted")]


def test_a_lost_actor_is_said_and_counted(bench: Bench) -> None:
    loss = Lost(actor="a", cause="hung", message="it did not move for 9 s")
    bench.ledger.lost(loss, num_tasks=3)
    assert bench.count('actors_lost_total{cause="hung"}') == 1
    assert bench.lines() == ["lost a with 3 prompts: it did not move for 9 s"]


@pytest.mark.parametrize("gives_up", [False, True])
def test_a_record_of_a_failure_that_the_store_refuses(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, gives_up: bool
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(bench.store), "write_failure", refuse)
    bench.ledger.ordered(attempt(0))
    decision = Decision(change=None if gives_up else "same")
    failed = Failed(attempt=attempt(0), kind="export", message="m", decision=decision)
    if gives_up:
        with pytest.raises(RunError, match=r"refuses the record of a failure: .*No space left"):
            bench.ledger.failed(failed)
        assert bench.ledger.totals.num_quarantined == 0
    else:
        bench.ledger.failed(failed)
        assert bench.lines()[0].startswith("warning: a failure is not kept in _failures/: ")


class Storage:
    """Keeps a record when the test lets it, or refuses it."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.error: OSError | None = None
        self.kept: list[Failure] = []

    def write(self, failure: Failure) -> None:
        assert self.gate.wait(10.0)
        if self.error is not None:
            raise self.error
        self.kept.append(failure)


def charged(number: int, *, gives_up: bool = False) -> Failed:
    decision = Decision(change=None if gives_up else "same")
    return Failed(attempt=attempt(number), kind="export", message="m", decision=decision)


def test_only_the_record_that_gives_an_asset_up_is_waited_for(tmp_path: Path) -> None:
    storage = Storage()
    bench = Bench(tmp_path, log=FailureLog(storage.write))
    for number in range(2):
        bench.ledger.ordered(attempt(number))
    bench.ledger.failed(charged(0))
    bench.ledger.failed(charged(1, gives_up=True))
    assert storage.kept == []
    assert [kept.asset_id for kept in bench.store.failures()] == [attempt(1).task.asset_id]
    storage.gate.set()
    bench.ledger.close(10.0)
    assert [kept.asset_id for kept in storage.kept] == [attempt(0).task.asset_id]
    assert not [line for line in bench.lines() if line.startswith("warning")]


@pytest.mark.parametrize("is_last", [True, False])
def test_a_refusal_is_heard_at_the_next_turn_or_at_the_end(tmp_path: Path, is_last: bool) -> None:
    storage = Storage()
    storage.error = OSError(28, "No space left on device")
    storage.gate.set()
    log = FailureLog(storage.write)
    bench = Bench(tmp_path, log=log)
    bench.ledger.ordered(attempt(0))
    bench.ledger.failed(charged(0))
    if is_last:
        bench.ledger.close(10.0)
    else:
        log.close(10.0)
        turned(bench, Schedule([], num_tasks=0, num_slots=1))
    warning = "warning: a failure is not kept in _failures/: No space left on device"
    assert bench.lines().count(warning) == 1


def test_seeds_of_one_prompt_are_each_on_their_way(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    seeds = [sample_task(k, prompt="a red ball") for k in range(3)]
    for number, task in enumerate(seeds):
        bench.ledger.ordered(replace(attempt(number), task=task))
    bench.ledger.glimpsed("a", Glance(fractions={task.asset_id: 0.5 for task in seeds}))
    bench.now += LINE_SECONDS
    turned(bench, Schedule(seeds, num_tasks=3, num_slots=3))
    (line,) = bench.lines()
    assert line == "0/3 assets, 3 running (50 %)"


def test_time_left_counts_from_what_is_measured_not_from_a_slow_first_step(bench: Bench) -> None:
    """Three scenes of 400 steps of a second each, after a first that takes a minute."""
    schedule = Schedule([sample_task(k) for k in range(3)], num_tasks=3, num_slots=3)
    for number in range(3):
        bench.ledger.ordered(attempt(number))
    began = bench.now
    for seconds in range(200):
        bench.now = began + seconds
        step = max(0, seconds - 59)
        fractions = {attempt(number).task.asset_id: step / 400 for number in range(3)}
        bench.ledger.glimpsed("a", Glance(fractions=fractions))
        turned(bench, schedule)
    lines = bench.lines()
    assert len(lines) > 10
    told = [line for line in lines if "left" in line]
    assert [line for line in lines if "left" not in line] == lines[: -len(told)]
    assert lines[0] == "0/3 assets, 3 running (0 %)"
    assert told[0] == "0/3 assets, 3 running (5 %), 27.0 an hour, 6 min 19 s left"
    assert told[-1] == "0/3 assets, 3 running (33 %), 27.0 an hour, 4 min 29 s left"


def test_what_an_earlier_run_has_made_of_a_scene_is_no_gain_of_this_one(bench: Bench) -> None:
    """Three scenes go on from their middle, seen ten seconds after another; a step is a second."""
    schedule = Schedule([sample_task(k) for k in range(3)], num_tasks=3, num_slots=3)
    for number in range(3):
        bench.ledger.ordered(replace(attempt(number), may_resume=True))
    began = bench.now
    for seconds in range(120):
        bench.now = began + seconds
        fractions = {
            attempt(number).task.asset_id: 0.5 + (seconds - 10 * number) / 400
            for number in range(3)
            if seconds >= 10 * number
        }
        bench.ledger.glimpsed("a", Glance(fractions=fractions))
        turned(bench, schedule)
    told = [line for line in bench.lines() if "left" in line]
    rates = [float(line.rpartition(" an hour")[0].rpartition(" ")[2]) for line in told]
    # Three scenes gain 27 an hour; two of them came late.
    assert max(rates) <= 27.0
    assert rates[-1] > 22.0


def test_a_scene_that_this_run_has_lost_was_its_own(bench: Bench) -> None:
    schedule = Schedule([sample_task(k) for k in range(3)], num_tasks=3, num_slots=3)
    bench.ledger.ordered(attempt(0))
    for fraction in (0.1, 0.2, 0.3, 0.4):
        bench.ledger.glimpsed("a", Glance(fractions={attempt(0).task.asset_id: fraction}))
        bench.now += LINE_SECONDS
        turned(bench, schedule)
    bench.ledger.ordered(replace(attempt(0), may_resume=True, number=2))
    bench.now += LINE_SECONDS
    turned(bench, schedule)
    # .3 of an asset in 40 seconds, as before.
    assert bench.lines()[-1].startswith("0/3 assets, 1 running (40 %), 27.0 an hour")
