"""The loop of the driver: orders go out to actors, answers come in, until nothing is left.

`Schedule` decides, `ActorPool` keeps actors alive, `Ledger` counts; this file only carries words
between them and Ray. One order is one `actor.optimize.remote(attempt)`; an actor has at most slots
and a little lookahead of them.
"""

import logging
import time
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from pipeline.cluster import Cluster, RunError
from pipeline.encode_stage import EncodeStage
from pipeline.ledger import Ledger
from pipeline.pool import ActorPool
from pipeline.records import Outcome, Task
from pipeline.schedule import Attempt, Failed, Schedule
from pipeline.worker import Glance

_LOG = logging.getLogger(__name__)
_TURN_SECONDS = 0.5
_GLANCE_SECONDS = 2.0
_SETTLING_SECONDS = 10.0
"""How long the other answers of a dead actor may take to fail as well."""
_COMING_GRACE_SECONDS = 120.0
"""How long the last tasks are kept back for actors that are still starting."""


@dataclass(frozen=True, kw_only=True)
class _Missing:
    """What an actor held when it was lost: on which machine, and the device time of each prompt."""

    node: str
    gpu_seconds: float


class Dispatcher:
    """Carries the tasks of one schedule through one pool."""

    def __init__(
        self,
        cluster: Cluster,
        pool: ActorPool,
        schedule: Schedule,
        ledger: Ledger,
        num_slots: int,
        stage: EncodeStage | None = None,
    ) -> None:
        """`stage` hears of every task that is over, committed or given up."""
        self._stage = stage
        self._cluster = cluster
        self._pool = pool
        self._schedule = schedule
        self._ledger = ledger
        self._num_slots = num_slots
        self._orders: dict[Any, tuple[str, Attempt, float]] = {}
        self._glances: dict[Any, str] = {}
        self._missing: dict[str, _Missing] = {}
        self._next_glance = 0.0
        self._num_complaints = 0
        self._began = time.monotonic()

    def run(self) -> None:
        """Returns when the schedule is finished. RunError if no actor is left, or no encoder."""
        while not self._schedule.is_finished:
            start = time.monotonic()
            self._pool.tend()
            if self._stage is not None:
                self._stage.check()
            self._judge()
            self._pass_on_complaints()
            self._send()
            self._retire()
            self._ask()
            waiting = time.monotonic()
            answers = self._wait()
            waited = time.monotonic() - waiting
            for answer in answers:
                self._take(answer)
            self._ledger.turned(
                self._schedule,
                num_ready=len(self._pool.ready),
                num_coming=self._pool.num_coming,
                num_slots=self._num_slots,
                busy=time.monotonic() - start - waited,
            )

    def _send(self) -> None:
        is_early = time.monotonic() - self._began < _COMING_GRACE_SECONDS
        num_coming = self._pool.num_coming if is_early else 0
        while order := self._schedule.next(self._pool.ready, num_coming=num_coming):
            name, attempt = order
            call = self._pool.handle(name).optimize.remote(attempt)
            self._orders[call] = (name, attempt, time.monotonic())
            self._ledger.ordered(attempt)

    def _retire(self) -> None:
        """Lets go of actors that the rest of the work does not need."""
        schedule = self._schedule
        if schedule.num_waiting or schedule.num_suspects or self._missing:
            return
        busy = [name for name in self._pool.ready if schedule.load(name)]
        for name in self._pool.ready:
            if busy and name not in busy:
                self._ledger.lost_sight(name)
                self._pool.retire(name)
        if busy:
            self._pool.retire_coming()

    def _ask(self) -> None:
        """Asks the actors how far they are, at a rate that a thousand of them do not feel."""
        now, ready = time.monotonic(), self._pool.ready
        if now < self._next_glance:
            return
        self._next_glance = now + max(_GLANCE_SECONDS, len(ready) / 20)
        self._glances = {self._pool.handle(name).progress.remote(): name for name in ready}

    def _wait(self) -> list[Any]:
        calls = [*self._orders, *self._pool.calls, *self._glances]
        if not calls:
            time.sleep(_TURN_SECONDS)
            return []
        first, rest = ray.wait(calls, num_returns=1, timeout=_TURN_SECONDS)
        more, _ = ray.wait(rest, num_returns=len(rest), timeout=0) if first and rest else ([], [])
        return [*first, *more]

    def _take(self, call: Any) -> None:
        if call in self._orders:
            self._settle(call)
        elif call in self._glances:
            self._glance(call)
        elif call in self._pool.calls:
            self._pool.answer(call)

    def _settle(self, call: Any) -> None:
        name, attempt, ordered = self._orders[call]
        outcome: Outcome
        try:
            outcome = _get(call)
        except RayTaskError as error:
            outcome = _internal(attempt, error, seconds=time.monotonic() - ordered)
        except RayError as error:
            _LOG.info("%s: %s", name, error)
            self._lose(name)
            return
        del self._orders[call]
        failed = self._schedule.settle(name, outcome)
        if failed is None:
            self._ledger.committed(attempt.task, outcome)
            self._over(attempt.task)
        else:
            self._note(failed, gpu_seconds=outcome.gpu_seconds)

    def _lose(self, name: str) -> None:
        """An actor is gone: what it had answered before counts, the rest is missing."""
        calls = [call for call, (owner, _, _) in self._orders.items() if owner == name]
        answered, _ = ray.wait(calls, num_returns=len(calls), timeout=_SETTLING_SECONDS)
        for call in answered:
            if not _is_lost(call):
                self._settle(call)
        now = time.monotonic()
        missing = [call for call in calls if call in self._orders]
        longest = max(now - self._orders.pop(call)[2] for call in missing)
        facts = self._pool.facts(name)
        assert facts is not None, "an actor with orders has been loaded"
        self._missing[name] = _Missing(node=facts.node, gpu_seconds=longest / len(missing))
        self._pool.recover(name)
        self._ledger.lost_sight(name)

    def _judge(self) -> None:
        """Says what the missing prompts of lost actors died of, as soon as that is known.

        A process that died is back within seconds on the same machine; that a machine is gone
        is known to Ray only after a quarter of a minute.
        """
        for name, missing in list(self._missing.items()):
            node_lost = not self._cluster.is_alive(missing.node)
            if self._pool.is_awaited(name) and not node_lost:
                continue
            del self._missing[name]
            what = "machine went away" if node_lost else "process died or was out of reach"
            losses = self._schedule.lose(name, f"the actor's {what}", node_lost=node_lost)
            self._ledger.said(f"lost {name} with {len(losses)} prompts: its {what}")
            for failed in losses:
                self._note(failed, gpu_seconds=missing.gpu_seconds)

    def _note(self, failed: Failed, *, gpu_seconds: float) -> None:
        self._ledger.failed(failed, gpu_seconds=gpu_seconds)
        if failed.decision.gives_up:
            self._over(failed.attempt.task)

    def _over(self, task: Task) -> None:
        if self._stage is not None:
            self._stage.settled(task)

    def _glance(self, call: Any) -> None:
        name = self._glances.pop(call)
        try:
            glance: Glance = _get(call)
        except RayError:
            # Its orders fail too, and those are what counts.
            self._ledger.lost_sight(name)
            return
        self._ledger.glimpsed(name, glance.fractions, glance.steps_per_second)

    def _pass_on_complaints(self) -> None:
        for complaint in self._pool.complaints[self._num_complaints :]:
            self._ledger.said(f"an actor was given up: {complaint}")
        self._num_complaints = len(self._pool.complaints)
        if self._pool.is_spent:
            raise RunError(f"no actor is left to work: {self._pool.complaints[-1]}")


def _get(call: Any) -> Any:
    """`ray.get` of one reference, which its stubs know as a list."""
    return ray.get(call)


def _is_lost(call: Any) -> bool:
    try:
        ray.get(call)
    except RayTaskError:
        return False
    except RayError:
        return True
    return False


def _internal(attempt: Attempt, error: RayTaskError, *, seconds: float) -> Outcome:
    """The outcome of a call that raised where it should have answered."""
    return Outcome(
        asset_id=attempt.task.asset_id,
        attempt_id=attempt.attempt_id,
        status="failed",
        error_kind="internal",
        message=str(error).strip().splitlines()[-1],
        gpu_seconds=seconds,
        wall_seconds=seconds,
    )
