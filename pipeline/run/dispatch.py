"""The loop of the driver: orders go out to actors, answers come in, until nothing is left.

`Schedule` decides, the fleet keeps actors alive, `Ledger` counts; this file only carries words
between them. It knows no ray, and of time what its clock says, so that `simulate` drives the very
same loop. A turn costs what has happened in it, however many actors there are.
"""

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from pipeline.errors import RunError
from pipeline.fleet.fleet import Event, Fleet, Glimpsed, Joined, Lost, Parted, Said, Settled
from pipeline.records import Task
from pipeline.run.culprits import Culprits, Failures
from pipeline.run.ledger import Ledger
from pipeline.run.refusals import Refusals
from pipeline.run.schedule import Failed, Schedule

LEAVING_SECONDS = 10.0
"""How long actors that were asked to leave may take to answer for what they hold."""
_TURN_SECONDS = 0.5
_COMING_GRACE_SECONDS = 120.0
"""How long the last tasks are kept back for actors that are still starting."""


class Stage(Protocol):
    """What goes along with every task from its first order to its end."""

    def check(self) -> None:
        """RunError where no task could be made."""
        ...

    def ordered(self, task: Task) -> None:
        """An attempt at the task was sent; there may have been others."""
        ...

    def settled(self, task: Task) -> None:
        """The task is over, committed or given up."""
        ...


class Dispatcher:
    """Carries the tasks of one schedule through one fleet."""

    def __init__(
        self,
        fleet: Fleet,
        schedule: Schedule,
        ledger: Ledger,
        *,
        stage: Stage | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fleet = fleet
        self._schedule = schedule
        self._ledger = ledger
        self._stage = stage
        self._clock = clock
        self._began = clock()
        self._is_stopping = False
        self._joined: set[str] = set()
        self._undecided: set[str] = set()
        """Actors that have parted with tasks of which nobody knows yet what becomes of them."""
        self._refusals = Refusals(clock)
        self._culprits = Culprits(num_slots=schedule.num_slots)
        self._reason: RunError | None = None
        """Why the run is given up: it is raised when all actors have left."""

    def run(self) -> None:
        """Returns when the schedule is finished, or soon after `stop`.

        RunError if no actor can work, or no encoder, or the store takes nothing any more.
        """
        while not (self._schedule.is_finished or self._is_stopping):
            busy = time.thread_time()
            if self._stage is not None:
                self._stage.check()
            self._send()
            self._release()
            for event in self._fleet.events(_TURN_SECONDS):
                self._take(event)
            self._show(time.thread_time() - busy)
        if self._is_stopping:
            self._leave()
        self._show(0.0, is_last=True)
        if self._reason is not None:
            raise self._reason

    def stop(self) -> None:
        """Makes `run` ask all actors to leave and return; for signal handlers."""
        self._is_stopping = True

    def _send(self) -> None:
        is_early = self._clock() - self._began < _COMING_GRACE_SECONDS
        num_coming = self._fleet.num_coming if is_early else 0
        while order := self._schedule.next(num_coming=num_coming):
            actor, attempt = order
            if self._stage is not None:
                self._stage.ordered(attempt.task)
            self._ledger.ordered(attempt)
            self._fleet.send(actor, attempt)

    def _release(self) -> None:
        """Lets go of actors that the rest of the work does not need.

        Nothing waits and nothing is undecided: what runs, runs on actors that have joined, so that
        a task that fails has one to go to.
        """
        schedule = self._schedule
        if schedule.num_waiting or schedule.num_suspects or self._undecided:
            return
        if schedule.num_running:
            for actor in schedule.idle():
                self._part(actor)
                self._fleet.release(actor)
            self._fleet.release_coming()

    def _leave(self) -> None:
        """What the actors hold comes back as preempted, or is left behind."""
        self._fleet.leave()
        end = self._clock() + LEAVING_SECONDS
        while self._schedule.num_running and (left := end - self._clock()) > 0:
            for event in self._fleet.events(min(left, _TURN_SECONDS)):
                self._take(event)

    def _take(self, event: Event) -> None:
        match event:
            case Settled():
                self._settle(event)
            case Glimpsed():
                if event.glance.fractions:
                    self._refusals.moved()
                self._ledger.glimpsed(event.actor, event.glance)
            case Joined():
                self._joined.add(event.actor)
                self._undecided.discard(event.actor)
                self._schedule.join(event.actor)
            case Parted():
                self._part(event.actor)
                if self._schedule.load(event.actor):
                    self._undecided.add(event.actor)
            case Lost():
                self._lose(event)
            case Said():
                self._ledger.said(event.text)

    def _settle(self, event: Settled) -> None:
        actor, task, outcome = event.actor, event.attempt.task, event.outcome
        failed = self._schedule.settle(actor, outcome)
        if not self._schedule.load(actor):
            self._undecided.discard(actor)
        if failed is not None:
            self._note(actor, failed, gpu_seconds=outcome.gpu_seconds)
            return
        self._refusals.taken(task.asset_id)
        self._replace(self._culprits.made(actor))
        self._ledger.committed(task, outcome)
        self._over(task)

    def _lose(self, event: Lost) -> None:
        self._part(event.actor)
        self._undecided.discard(event.actor)
        message = f"its actor was lost: {event.message}"
        losses = self._schedule.lose(event.actor, message, cause=event.cause)
        self._ledger.lost(event, num_tasks=len(losses))
        for failed in losses:
            seconds = event.gpu_seconds.get(failed.attempt.task.asset_id, 0.0)
            self._note(event.actor, failed, gpu_seconds=seconds)

    def _part(self, actor: str) -> None:
        self._joined.discard(actor)
        self._schedule.part(actor)
        self._ledger.lost_sight(actor)

    def _note(self, actor: str, failed: Failed, *, gpu_seconds: float) -> None:
        if self._reason is None and self._refusals.is_hopeless(
            failed, num_actors=len(self._joined)
        ):
            is_early = failed.kind == "encode"
            what = "no texts can be had" if is_early else "the output refuses what is made"
            self._reason = RunError(f"{what}: {failed.message}")
            self._is_stopping = True
        if self._reason is not None and failed.kind == "store":
            # The asset is not to blame, and its record would be refused as well.
            return
        self._ledger.failed(failed, gpu_seconds=gpu_seconds)
        if failed.decision.gives_up:
            self._over(failed.attempt.task)
        self._replace(self._culprits.failed(actor, failed))

    def _replace(self, culprits: Mapping[str, Failures]) -> None:
        """Actors are at fault: others take their places, and what they failed is forgiven."""
        for actor, failures in culprits.items():
            self._schedule.forgive(actor, failures)
            self._ledger.replaced(actor, failures)
            if not self._is_stopping:
                self._part(actor)
                self._fleet.replace(actor)
                if self._schedule.load(actor):
                    self._undecided.add(actor)

    def _over(self, task: Task) -> None:
        if self._stage is not None:
            self._stage.settled(task)

    def _show(self, busy: float, *, is_last: bool = False) -> None:
        self._ledger.turned(
            self._schedule,
            num_ready=len(self._joined),
            num_coming=self._fleet.num_coming,
            num_leaving=len(self._undecided),
            busy=busy,
            is_last=is_last,
        )
