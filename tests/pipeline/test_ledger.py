"""Every event is counted once, in totals, metrics, display and store."""

import io
from pathlib import Path

import pytest

from pipeline.ledger import Ledger
from pipeline.metrics import JobMetrics
from pipeline.progress import LINE_SECONDS, LineDisplay
from pipeline.records import Outcome
from pipeline.retry import Decision
from pipeline.schedule import Attempt, Failed, Schedule
from tests.pipeline.sample_assets import open_store, sample_task


class Bench:
    """A ledger of three tasks with a clock of its own."""

    def __init__(self, tmp_path: Path) -> None:
        self.now = 100.0
        self.stream = io.StringIO()
        self.metrics = JobMetrics()
        self.store = open_store(str(tmp_path))
        self.ledger = Ledger(
            self.store,
            LineDisplay(self.stream, clock=lambda: self.now),
            self.metrics,
            num_tasks=3,
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


def test_a_turn_of_the_loop_shows_where_everything_is(bench: Bench) -> None:
    schedule = Schedule([sample_task(k) for k in range(3)], num_slots=1)
    for _ in range(2):
        order = schedule.next(["a"])
        assert order is not None
        bench.ledger.ordered(order[1])
    key = sample_task(0).asset_id
    bench.ledger.glimpsed("a", {key: 0.5, "an asset that is over": 1.0}, 4.0)
    bench.now += LINE_SECONDS
    bench.ledger.turned(schedule, num_ready=2, num_coming=3, num_slots=1, busy=0.01)
    queue = {state: bench.count(f'queue{{state="{state}"}}') for state in ("waiting", "running")}
    assert queue == {"waiting": 1, "running": 2}
    slots = {s: bench.count(f'slots{{state="{s}"}}') for s in ("busy", "free", "down")}
    assert slots == {"busy": 2, "free": 0, "down": 3}
    assert bench.count("driver_loop_seconds_count") == 1
    (line,) = bench.lines()
    assert line.startswith("0/3 assets, 1 running (50 %)")
    assert "4.0 steps/s" in line
    bench.ledger.lost_sight("a")
    bench.now += LINE_SECONDS
    bench.ledger.turned(schedule, num_ready=1, num_coming=0, num_slots=1, busy=0.01)
    assert "running" not in bench.lines()[-1]
