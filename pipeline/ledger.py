"""What a run has to show: every event is counted here once, for metrics, display and summary.

The ledger also keeps charged failures in the store; it never decides anything.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pipeline import retry
from pipeline.metrics import JobMetrics
from pipeline.progress import Display, Snapshot, duration, shorten
from pipeline.records import Failure, Outcome, Task
from pipeline.schedule import Attempt, Failed, Schedule
from pipeline.store import Store


@dataclass(kw_only=True)
class Totals:
    """Counts of one run."""

    num_committed: int = 0
    num_duplicate: int = 0
    num_quarantined: int = 0
    num_failed_attempts: int = 0
    gpu_seconds: float = 0.0
    bytes_written: int = 0

    @property
    def num_done(self) -> int:
        """Assets that lie in the store, whoever put them there."""
        return self.num_committed + self.num_duplicate


@dataclass(kw_only=True)
class _Glimpse:
    fractions: Mapping[str, float] = field(default_factory=dict)
    steps_per_second: float = 0.0


class Ledger:
    """Totals of a run of `num_tasks` tasks, and the display and metrics that show them."""

    def __init__(
        self,
        store: Store,
        display: Display,
        metrics: JobMetrics,
        *,
        num_tasks: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.totals = Totals()
        self._store = store
        self._display = display
        self._metrics = metrics
        self._num_tasks = num_tasks
        self._clock = clock
        self._first_order: float | None = None
        self._orders: dict[str, tuple[float, str]] = {}
        self._glimpses: dict[str, _Glimpse] = {}

    def ordered(self, attempt: Attempt) -> None:
        """An attempt was sent to an actor."""
        now = self._clock()
        if self._first_order is None:
            self._first_order = now
        task = attempt.task
        self._orders.setdefault(task.asset_id, (now, task.prompt.prompt))

    def committed(self, task: Task, outcome: Outcome) -> None:
        """An attempt ended with the asset in the store."""
        ordered, _ = self._orders.pop(task.asset_id)
        seconds = self._clock() - ordered
        self._count_attempt(outcome.status, outcome.gpu_seconds)
        self._metrics.add("assets_total", status=outcome.status)
        if outcome.status == "duplicate":
            self.totals.num_duplicate += 1
            self._metrics.add("commit_conflicts_total")
        else:
            self.totals.num_committed += 1
            self._metrics.set("last_commit_timestamp_seconds", time.time())
        self.totals.bytes_written += outcome.bytes_written
        self._metrics.add("output_bytes_total", outcome.bytes_written)
        self._metrics.observe("asset_seconds", seconds)
        for stage, spent in outcome.stage_seconds.items():
            self._metrics.observe("stage_seconds", spent, stage=stage)
        number = self.totals.num_done + self.totals.num_quarantined
        worked = seconds - outcome.stage_seconds.get("wait", 0.0)
        self._display.say(
            f"[{number}/{self._num_tasks}] {outcome.status} {shorten(task.prompt.prompt)!r} "
            f"in {duration(worked)}" + (", no mesh" if outcome.mesh_status == "empty" else "")
        )

    def failed(self, failed: Failed, *, gpu_seconds: float = 0.0) -> None:
        """An attempt failed; what follows has been decided."""
        task = failed.attempt.task
        is_charged = retry.policy(failed.kind).charged
        self.totals.num_failed_attempts += 1
        self._count_attempt("failed" if is_charged else "lost", gpu_seconds)
        if is_charged or failed.decision.gives_up:
            self._store.write_failure(_failure(failed))
        prompt = shorten(task.prompt.prompt)
        if not failed.decision.gives_up:
            self._metrics.add("retries_total", kind=failed.kind)
            how = _HOW[failed.decision.change or "same"]
            self._display.say(f"{failed.kind}: {prompt!r} {how} ({_brief(failed.message)})")
            return
        self._orders.pop(task.asset_id)
        self.totals.num_quarantined += 1
        self._metrics.add("assets_total", status="quarantined")
        number = self.totals.num_done + self.totals.num_quarantined
        self._display.say(
            f"[{number}/{self._num_tasks}] quarantined {prompt!r} after {failed.attempt.number} "
            f"attempts, {failed.kind}: {_brief(failed.message)}"
        )

    def glimpsed(self, actor: str, fractions: Mapping[str, float], steps_per_second: float) -> None:
        """An actor said how far its scenes are, by asset id."""
        self._glimpses[actor] = _Glimpse(fractions=fractions, steps_per_second=steps_per_second)

    def lost_sight(self, actor: str) -> None:
        """An actor is out of reach: what it said last is no longer true."""
        self._glimpses.pop(actor, None)

    def said(self, text: str) -> None:
        """An event that is not about an asset."""
        self._display.say(text)

    def turned(
        self, schedule: Schedule, *, num_ready: int, num_coming: int, num_slots: int, busy: float
    ) -> None:
        """One turn of the driver's loop, which took `busy` seconds besides waiting."""
        self._metrics.observe("driver_loop_seconds", busy)
        ended = self.totals.num_done + self.totals.num_quarantined
        under_way = schedule.num_suspects + schedule.num_running
        # A schedule knows its own recipe's prompts; what waits for a later recipe waits as well.
        self._metrics.set("queue", self._num_tasks - ended - under_way, state="waiting")
        self._metrics.set("queue", schedule.num_suspects, state="suspect")
        self._metrics.set("queue", schedule.num_running, state="running")
        slots = num_ready * num_slots
        taken = min(schedule.num_running, slots)
        self._metrics.set("slots", taken, state="busy")
        self._metrics.set("slots", slots - taken, state="free")
        self._metrics.set("slots", num_coming * num_slots, state="down")
        self._display.update(self._snapshot(num_ready))

    def _snapshot(self, num_ready: int) -> Snapshot:
        elapsed = 0.0 if self._first_order is None else self._clock() - self._first_order
        fractions = {
            self._orders[asset_id][1]: fraction
            for glimpse in self._glimpses.values()
            for asset_id, fraction in glimpse.fractions.items()
            if asset_id in self._orders
        }
        return Snapshot(
            total=self._num_tasks,
            done=self.totals.num_done,
            quarantined=self.totals.num_quarantined,
            num_failures=self.totals.num_failed_attempts,
            num_actors=num_ready,
            elapsed=elapsed,
            steps_per_second=sum(g.steps_per_second for g in self._glimpses.values()),
            fractions=fractions,
        )

    def _count_attempt(self, outcome: str, gpu_seconds: float) -> None:
        self.totals.gpu_seconds += gpu_seconds
        self._metrics.add("attempts_total", outcome=outcome)
        self._metrics.add("gpu_seconds_total", gpu_seconds, outcome=outcome)


_HOW = {
    "same": "will be tried again",
    "new_seed": "will be tried again with another seed",
    "alone": "will be tried again alone",
}


def _failure(failed: Failed) -> Failure:
    task = failed.attempt.task
    return Failure(
        asset_id=task.asset_id,
        attempt_id=failed.attempt.attempt_id,
        prompt_id=task.prompt.prompt_id,
        prompt=task.prompt.prompt,
        error_kind=failed.kind,
        message=failed.message,
        attempts=failed.attempt.number,
        quarantined=failed.decision.gives_up,
    )


def _brief(message: str) -> str:
    first = message.strip().splitlines()[0] if message.strip() else "no message"
    return first if len(first) <= 160 else first[:159] + "…"
