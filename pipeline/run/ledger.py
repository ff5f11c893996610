"""What a run has to show: every event is counted here once, for metrics, display and summary.

The ledger also has charged failures kept in the store; it never decides anything. An event costs
the same however many tasks and actors there are; what has to look at all of them is shown twice a
second, and less often where they are many.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice

from pipeline import retry
from pipeline.dataset.failure_log import FailureLog
from pipeline.errors import RunError
from pipeline.fleet.fleet import Lost
from pipeline.metrics import JobMetrics
from pipeline.records import Attempt, Failure, Glance, Outcome, Task
from pipeline.run.progress import MAX_SCENE_BARS, Display, Snapshot, duration, shorten
from pipeline.run.schedule import Failed, Schedule
from pipeline.storage import places
from pipeline.store import Store

_SHOW_SECONDS = 0.5
_GLIMPSES_A_SECOND = 100.0
"""What is shown takes a look at every actor: a thousand of them are shown every ten seconds."""


@dataclass(kw_only=True)
class Totals:
    """Counts of one run.

    Device time is useful where it ended in an asset of this run, whichever run spent it; wasted, by
    cause, where it did not: `duplicate`, or the kind of the failure. What a checkpoint keeps of an
    attempt that was preempted is neither until its asset is over.
    """

    num_committed: int = 0
    num_duplicate: int = 0
    num_quarantined: int = 0
    num_failed_attempts: int = 0
    gpu_seconds_useful: float = 0.0
    gpu_seconds_wasted: dict[str, float] = field(default_factory=dict)
    bytes_written: int = 0

    @property
    def num_done(self) -> int:
        """Assets that lie in the store, whoever put them there."""
        return self.num_committed + self.num_duplicate

    @property
    def gpu_seconds(self) -> float:
        """Device time, useful or not."""
        return self.gpu_seconds_useful + sum(self.gpu_seconds_wasted.values())

    def waste(self, cause: str, seconds: float) -> None:
        """Counts device time that was for nothing."""
        self.gpu_seconds_wasted[cause] = self.gpu_seconds_wasted.get(cause, 0.0) + seconds


class Ledger:
    """Totals of a run of `num_tasks` tasks, and the display and metrics that show them."""

    def __init__(
        self,
        store: Store,
        display: Display,
        metrics: JobMetrics,
        *,
        num_tasks: int,
        log: FailureLog | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Without a `log`, every record of a failure is waited for."""
        self.totals = Totals()
        self._store = store
        self._display = display
        self._metrics = metrics
        self._num_tasks = num_tasks
        self._log = log
        self._clock = clock
        self._first_sight: float | None = None
        """When something was first seen to be finished."""
        self._found = 0.0
        """Of what is finished, the part that this run has not been seen to make."""
        self._resuming: set[str] = set()
        """Scenes of earlier runs that nobody has seen yet."""
        self._orders: dict[str, tuple[float, str]] = {}
        self._glimpses: dict[str, Glance] = {}
        self._next_show = 0.0

    def ordered(self, attempt: Attempt) -> None:
        """An attempt was sent to an actor."""
        task = attempt.task
        self._orders.setdefault(task.asset_id, (self._clock(), task.prompt.prompt))
        if attempt.may_resume and attempt.number == 1:
            self._resuming.add(task.asset_id)

    def committed(self, task: Task, outcome: Outcome) -> None:
        """An attempt ended with the asset in the store."""
        ordered, _ = self._orders.pop(task.asset_id)
        seconds = self._clock() - ordered
        self._count_attempt(outcome.status, outcome.gpu_seconds)
        self._metrics.add("assets_total", status=outcome.status)
        if outcome.status == "duplicate":
            self.totals.num_duplicate += 1
            self._waste("duplicate", outcome.gpu_seconds)
            self._metrics.add("commit_conflicts_total")
        else:
            self.totals.num_committed += 1
            self.totals.gpu_seconds_useful += outcome.gpu_seconds
            self._metrics.set("last_commit_timestamp_seconds", time.time())
            self._describe(outcome)
        self.totals.bytes_written += outcome.bytes_written
        self._metrics.add("output_bytes_total", outcome.bytes_written)
        self._metrics.observe("asset_seconds", seconds)
        for stage, spent in outcome.stage_seconds.items():
            self._metrics.observe("stage_seconds", spent, stage=stage)
        number = self.totals.num_done + self.totals.num_quarantined
        worked = seconds - outcome.stage_seconds.get("wait", 0.0)
        self._display.say(
            f"[{number}/{self._num_tasks}] {outcome.status} {shorten(task.prompt.prompt)!r} "
            f"in {duration(worked)}"
            + (f", resumed at step {n}" if (n := outcome.num_resumed_steps) else "")
            + (", no mesh" if outcome.mesh_status == "empty" else "")
        )

    def failed(self, failed: Failed, *, gpu_seconds: float = 0.0) -> None:
        """An attempt failed; what follows has been decided.

        RunError where an asset is given up and the store does not take the record of it.
        """
        task = failed.attempt.task
        is_charged = retry.policy(failed.kind).charged
        if is_charged or failed.decision.gives_up:
            self._keep(failed)
        self._waste(failed.kind, gpu_seconds)
        is_preempted = failed.kind == "preempted"
        if is_preempted:
            self._count_attempt("preempted", gpu_seconds)
        else:
            self.totals.num_failed_attempts += 1
            self._count_attempt("failed" if is_charged else "lost", gpu_seconds)
        prompt = shorten(task.prompt.prompt)
        if not failed.decision.gives_up:
            self._metrics.add("retries_total", kind=failed.kind)
            if not is_preempted:
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

    def glimpsed(self, actor: str, glance: Glance) -> None:
        """An actor said how far its scenes are."""
        self._glimpses[actor] = glance

    def lost_sight(self, actor: str) -> None:
        """An actor is out of reach: what it said last is no longer true."""
        self._glimpses.pop(actor, None)

    def lost(self, loss: Lost, *, num_tasks: int) -> None:
        """An actor is gone, with so many tasks."""
        self._metrics.add("actors_lost_total", cause=loss.cause)
        self.said(f"lost {loss.actor} with {num_tasks} prompts: {loss.message}")

    def replaced(self, actor: str, failures: Mapping[str, Sequence[str]]) -> None:
        """An actor was at fault for these attempts, by asset: they are forgiven in the store."""
        self.said(f"{actor} is replaced: all fails there, {len(failures)} prompts are not charged")
        attempt_ids = list(chain.from_iterable(failures.values()))
        if attempt_ids:
            try:
                self._store.pardon(attempt_ids)
            except Exception as error:  # storage clients have no common family of errors
                self.said(f"warning: what {actor} failed is not pardoned: {places.reason(error)}")

    def said(self, text: str) -> None:
        """An event that is not about an asset."""
        self._display.say(text)

    def turned(
        self,
        schedule: Schedule,
        *,
        num_ready: int,
        num_coming: int,
        num_leaving: int,
        busy: float,
        is_last: bool = False,
    ) -> None:
        """One turn of the driver's loop, which took `busy` seconds besides waiting.

        `num_leaving` actors have parted and still hold tasks. The last turn is shown in any case.
        """
        self._metrics.observe("driver_loop_seconds", busy)
        self._pass_on_refusals()
        now = self._clock()
        if now < self._next_show and not is_last:
            return
        self._next_show = now + max(_SHOW_SECONDS, len(self._glimpses) / _GLIMPSES_A_SECOND)
        self._show_queue(schedule)
        self._show_slots(schedule, num_ready * schedule.num_slots, num_coming * schedule.num_slots)
        for state, number in (
            ("ready", num_ready),
            ("coming", num_coming),
            ("leaving", num_leaving),
        ):
            self._metrics.set("actors", number, state=state)
        stuck = max((glance.stuck_seconds for glance in self._glimpses.values()), default=0.0)
        self._metrics.set("stuck_seconds", stuck)
        # Glances are seconds old: where nothing runs any more, nothing is stepped.
        glimpses = self._glimpses.values() if schedule.num_running else ()
        steps_per_second = sum(glance.steps_per_second for glance in glimpses)
        self._metrics.set("steps_per_second", steps_per_second)
        self._display.update(self._snapshot(num_ready, steps_per_second))

    def close(self, timeout: float) -> None:
        """Waits up to `timeout` seconds for records of failures that are not written yet."""
        if self._log is not None:
            self._log.close(timeout)
            self._pass_on_refusals()

    def _show_queue(self, schedule: Schedule) -> None:
        ended = self.totals.num_done + self.totals.num_quarantined
        under_way = schedule.num_suspects + schedule.num_running
        # A schedule knows its own recipe's prompts; what waits for a later recipe waits as well.
        self._metrics.set("queue", self._num_tasks - ended - under_way, state="waiting")
        self._metrics.set("queue", schedule.num_suspects, state="suspect")
        self._metrics.set("queue", schedule.num_running, state="running")

    def _show_slots(self, schedule: Schedule, num_up: int, num_down: int) -> None:
        taken = min(schedule.num_running, num_up)
        self._metrics.set("slots", taken, state="busy")
        self._metrics.set("slots", num_up - taken, state="free")
        self._metrics.set("slots", num_down, state="down")

    def _snapshot(self, num_ready: int, steps_per_second: float) -> Snapshot:
        fractions = {
            asset_id: fraction
            for glimpse in self._glimpses.values()
            for asset_id, fraction in glimpse.fractions.items()
            if asset_id in self._orders
        }
        snapshot = Snapshot(
            total=self._num_tasks,
            done=self.totals.num_done,
            quarantined=self.totals.num_quarantined,
            num_failures=self.totals.num_failed_attempts,
            num_actors=num_ready,
            steps_per_second=steps_per_second,
            fractions=fractions,
            prompts={a: self._orders[a][1] for a in islice(fractions, MAX_SCENE_BARS)},
        )
        if self._first_sight is None:
            if snapshot.finished > 0:
                self._first_sight, self._found = self._clock(), snapshot.finished
                self._resuming -= fractions.keys()
            return snapshot
        for asset_id in self._resuming & fractions.keys():
            self._resuming.remove(asset_id)
            self._found += fractions[asset_id]
        gained, elapsed = snapshot.finished - self._found, self._clock() - self._first_sight
        return replace(snapshot, gained=gained, elapsed=elapsed)

    def _describe(self, outcome: Outcome) -> None:
        """What the asset is like, as far as its actor tells."""
        for name, value in outcome.losses.items():
            self._metrics.observe("asset_loss", value, loss=name)
        if outcome.opacity is not None:
            self._metrics.observe("asset_opacity", outcome.opacity)
        if outcome.mesh_status is not None:
            self._metrics.add("meshes_total", status=outcome.mesh_status)
        if outcome.mesh_status == "ok" and outcome.mesh_faces is not None:
            self._metrics.observe("asset_mesh_faces", outcome.mesh_faces)

    def _count_attempt(self, outcome: str, gpu_seconds: float) -> None:
        self._metrics.add("attempts_total", outcome=outcome)
        self._metrics.add("gpu_seconds_total", gpu_seconds, outcome=outcome)

    def _waste(self, cause: str, gpu_seconds: float) -> None:
        self.totals.waste(cause, gpu_seconds)
        self._metrics.add("wasted_gpu_seconds_total", gpu_seconds, cause=cause)

    def _keep(self, failed: Failed) -> None:
        """Only what gives an asset up is waited for: the run's end depends on it."""
        if self._log is not None and not failed.decision.gives_up:
            self._log.keep(_failure(failed))
            return
        try:
            self._store.write_failure(_failure(failed))
        except Exception as error:  # storage clients have no common family of errors
            reason = places.reason(error)
            if failed.decision.gives_up:
                raise RunError(f"the output refuses the record of a failure: {reason}") from error
            self._warn(reason)

    def _pass_on_refusals(self) -> None:
        if self._log is not None:
            for reason in self._log.refusals():
                self._warn(reason)

    def _warn(self, reason: str) -> None:
        self._display.say(f"warning: a failure is not kept in _failures/: {reason}")


_HOW = {
    "same": "will be tried again",
    "new_seed": "will be tried again with another seed",
    "alone": "will be tried again alone",
    "frugal": "will be tried again alone, with as little memory as it can",
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
