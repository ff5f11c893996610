"""A fleet of Ray actors: `ActorPool` brings them up, this file carries orders and verdicts.

What becomes of an actor that does not answer for an order:

    ready ──first order that fails──▶ silent ──reached again──▶ Lost: its process died
      │ │                                └──its machine not alive──▶ Lost: its machine went away
      │ └── stuck, or no glance answered for `hang_seconds` ──▶ ended, Lost: hung
      └──── its machine drains ──▶ asked to leave ──▶ all answered, or too late ──▶ replaced

A process that died is back within seconds on the same machine; that a machine is gone is known to
Ray only after a quarter of a minute.

Nobody is judged unheard: all that has arrived is taken in before, and the time in which the
driver's own loop stood still counts for no one's silence.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from ray.exceptions import RayError, RayTaskError

from pipeline.actor import NotLoaded
from pipeline.errors import RunError
from pipeline.fleet.fleet import Event, Glimpsed, Joined, Lost, Parted, Said, Settled
from pipeline.fleet.inbox import Inbox
from pipeline.fleet.pool import ActorPool
from pipeline.records import Attempt, Cause, Glance, Outcome

_TEND_SECONDS = 0.25
"""Pause between two looks at all that has to be looked at, which grow with the fleet."""
_NODES_SECONDS = 1.0
"""Pause between two looks at the cluster's machines."""
_GLANCE_SECONDS = 2.0
_GLANCES_A_SECOND = 20.0
"""A thousand actors that are asked how far they are do not slow the driver."""
_SETTLING_SECONDS = 10.0
"""How long the other answers of a dead actor may take to fail as well."""
_LEAVING_SECONDS = 30.0
"""How long an actor on a machine that drains may take to answer for what it holds."""
_AWAY_SECONDS = 5.0
"""A pause between two turns of the driver's loop that is its own fault."""


class Machines(Protocol):
    """What a fleet asks of the cluster about its machines (`cluster.Cluster`)."""

    def alive(self) -> Collection[str]: ...
    def draining(self) -> Collection[str]: ...


@dataclass(kw_only=True)
class _Crew:
    """What an actor that has joined holds and was asked; moments are of the fleet's clock."""

    node: str
    orders: dict[str, "_Order"] = field(default_factory=dict)
    glance_asked: float | None = None
    silent_since: float | None = None
    leaving_since: float | None = None
    num_failed: int = 0
    """Orders that failed with the actor."""
    unsaved_seconds: Mapping[str, float] = field(default_factory=dict)
    """Of the last glance."""
    glanced: float = 0.0

    def is_silent(self, now: float) -> bool:
        """Whether the actor is out of reach, and all that it had answered before has arrived."""
        if self.silent_since is None or self.leaving_since is not None:
            return False
        has_settled = self.num_failed == len(self.orders)
        return has_settled or now - self.silent_since > _SETTLING_SECONDS

    def has_left(self, now: float) -> bool:
        """Whether the actor was asked to leave, and will answer for nothing more."""
        if self.leaving_since is None:
            return False
        has_settled = self.num_failed == len(self.orders)
        return has_settled or now - self.leaving_since > _LEAVING_SECONDS

    def excuse(self, seconds: float) -> None:
        """Nobody listened for so long."""
        for name in ("glance_asked", "silent_since", "leaving_since"):
            if (since := getattr(self, name)) is not None:
                setattr(self, name, since + seconds)

    def lost_seconds(self, now: float) -> dict[str, float]:
        """Device time, by asset id, of what it holds and has no checkpoint of: at the last glance,
        and an equal part of the time since, until it fell silent. What had not begun, had none."""
        begun = {a: seconds for a, seconds in self.unsaved_seconds.items() if seconds}
        held = {order.attempt.task.asset_id for order in self.orders.values()}
        until = now if self.silent_since is None else self.silent_since
        each = max(0.0, until - self.glanced) / max(1, len(begun))
        return {a: seconds + each for a, seconds in begun.items() if a in held}


@dataclass(frozen=True, kw_only=True)
class _Order:
    attempt: Attempt
    ordered: float


class RayFleet:
    """`fleet.Fleet` over at most `size` Ray actors, made by `create`."""

    def __init__(
        self,
        create: Callable[[], Any],
        machines: Machines,
        *,
        size: int,
        hang_seconds: float,
        encoder: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`hang_seconds`: an actor that has work and has not moved for so long is replaced.
        `encoder` is the handle of the `TextActor` that embeds texts for them."""
        self._machines = machines
        self._hang_seconds = hang_seconds
        self._clock = clock
        self._inbox = Inbox()
        self._pool = ActorPool(
            create, self._inbox, size=size, on_ready=self._join, encoder=encoder, clock=clock
        )
        self._crews: dict[str, _Crew] = {}
        self._events: list[Event] = []
        self._glances: deque[tuple[float, str, _Crew]] = deque()
        """When to ask whom; an actor that has joined again since has another crew."""
        self._turned = clock()
        self._next_tending = 0.0
        self._next_nodes = 0.0
        self._is_leaving = False

    @property
    def num_coming(self) -> int:
        """See `Fleet`."""
        return self._pool.num_coming

    def send(self, actor: str, attempt: Attempt) -> None:
        """See `Fleet`."""
        order = _Order(attempt=attempt, ordered=self._clock())
        crew = self._crews[actor]
        crew.orders[attempt.attempt_id] = order
        call = self._pool.handle(actor).optimize.remote(attempt)
        self._inbox.watch(call, lambda future: self._answer(actor, crew, order, future))

    def events(self, timeout: float) -> Sequence[Event]:
        """See `Fleet`."""
        self._excuse()
        self._inbox.deliver(0.0)
        self._tend()
        self._inbox.deliver(0.0 if self._events else min(timeout, _TEND_SECONDS))
        events, self._events = self._events, []
        return events

    def replace(self, actor: str) -> None:
        """See `Fleet`. One that is lost, or silent, or leaving, is a new one soon in any case."""
        if self._pool.is_ready(actor):
            self._ask_to_leave(actor)

    def release(self, actor: str) -> None:
        """See `Fleet`."""
        assert not self._crews[actor].orders, f"{actor} is released with orders"
        del self._crews[actor]
        self._pool.retire(actor)

    def release_coming(self) -> None:
        """See `Fleet`."""
        self._pool.retire_coming()

    def leave(self) -> None:
        """See `Fleet`."""
        self._is_leaving = True
        self._pool.retire_coming()
        for actor in self._pool.ready():
            self._ask_to_leave(actor)

    def close(self) -> None:
        """See `Fleet`."""
        self._pool.close()
        self._crews.clear()

    def _excuse(self) -> None:
        """The loop may have stood still: a slow store, a machine that was out of breath."""
        now = self._clock()
        away, self._turned = now - self._turned, now
        if away > _AWAY_SECONDS:
            self._pool.excuse(away)
            for crew in self._crews.values():
                crew.excuse(away)

    def _tend(self) -> None:
        now = self._clock()
        if now < self._next_tending:
            return
        self._next_tending = now + _TEND_SECONDS
        if not self._is_leaving:
            self._pool.tend()
        self._pass_on_complaints()
        self._ask_for_glances(now)
        if now >= self._next_nodes:
            self._next_nodes = now + _NODES_SECONDS
            self._heed_draining()
            self._judge(now)

    def _join(self, actor: str) -> None:
        """The pool has loaded an actor."""
        if actor in self._crews:
            # It is back before the verdict.
            self._lose(actor, self._verdict(self._crews[actor], self._machines.alive()))
        crew = self._crews[actor] = _Crew(node=self._pool.node(actor))
        self._glances.append((self._clock() + _GLANCE_SECONDS, actor, crew))
        self._events.append(Joined(actor=actor))

    def _answer(self, actor: str, crew: _Crew, order: _Order, future: "Future[Any]") -> None:
        if self._crews.get(actor) is not crew:
            # Lost meanwhile, with all its orders; what it still says comes too late.
            return
        error = future.exception()
        if _is_loss(error) and not isinstance(error, NotLoaded):
            crew.num_failed += 1
            self._fall_silent(actor, crew)
            return
        outcome: Outcome = future.result() if error is None else self._failed(crew, order, error)
        del crew.orders[order.attempt.attempt_id]
        self._events.append(Settled(actor=actor, attempt=order.attempt, outcome=outcome))
        if isinstance(error, NotLoaded):
            self._fall_silent(actor, crew)

    def _failed(self, crew: _Crew, order: _Order, error: BaseException) -> Outcome:
        """The outcome of a call that raised where it should have answered. A process that has
        loaded nothing has not begun either, which nobody is charged for; nor for what Ray refuses
        the actor itself."""
        attempt, now = order.attempt, self._clock()
        kind, message = "internal", str(error).strip().splitlines()[-1]
        if isinstance(error, NotLoaded):
            kind, message = "preempted", "its process had been started again"
        elif isinstance(getattr(error, "cause", None), RayError):
            kind = "preempted"
        return Outcome(
            asset_id=attempt.task.asset_id,
            attempt_id=attempt.attempt_id,
            status="failed",
            error_kind=kind,
            message=message,
            gpu_seconds=crew.lost_seconds(now).get(attempt.task.asset_id, 0.0),
        )

    def _fall_silent(self, actor: str, crew: _Crew) -> None:
        if crew.silent_since is not None:
            return
        crew.silent_since = self._clock()
        if crew.leaving_since is None:
            self._events.append(Parted(actor=actor))
            self._pool.recover(actor)

    def _judge(self, now: float) -> None:
        """Says what became of silent and leaving actors, as soon as that is known."""
        silent = {a: c for a, c in self._crews.items() if c.is_silent(now)}
        alive = self._machines.alive() if silent else ()
        for actor, crew in silent.items():
            verdict = self._verdict(crew, alive)
            if verdict == "node" or not self._pool.is_awaited(actor):
                self._lose(actor, verdict)
        for actor in [a for a, c in self._crews.items() if c.has_left(now)]:
            if self._crews[actor].orders:
                self._lose(actor, "node")
            else:
                del self._crews[actor]
            self._pool.replace(actor)

    def _verdict(self, crew: _Crew, alive: Collection[str]) -> Cause:
        return "process" if crew.node in alive else "node"

    def _lose(self, actor: str, cause: Cause) -> None:
        crew = self._crews.pop(actor)
        self._events.append(
            Lost(
                actor=actor,
                cause=cause,
                message=self._message(cause),
                gpu_seconds=crew.lost_seconds(self._clock()),
            )
        )

    def _message(self, cause: Cause) -> str:
        return {
            "process": "its process died or was out of reach",
            "node": "its machine went away",
            "hung": f"it did not move for {self._hang_seconds:.0f} s",
        }[cause]

    def _heed_draining(self) -> None:
        """Asks the actors on machines that are about to go to keep what they have, and to stop."""
        draining = self._machines.draining()
        if not draining:
            return
        for actor in self._pool.ready():
            if self._pool.node(actor) in draining:
                self._events.append(Said(text=f"{actor} is preempted: its machine is about to go"))
                self._ask_to_leave(actor)

    def _ask_to_leave(self, actor: str) -> None:
        self._pool.part(actor)
        self._crews[actor].leaving_since = self._clock()
        self._events.append(Parted(actor=actor))
        # Its orders are answered, which says all; this call's own answer says nothing more.
        self._inbox.watch(self._pool.handle(actor).leave.remote(), _ignore)

    def _ask_for_glances(self, now: float) -> None:
        pause = max(_GLANCE_SECONDS, len(self._crews) / _GLANCES_A_SECOND)
        while self._glances and self._glances[0][0] <= now:
            _, actor, crew = self._glances.popleft()
            if self._crews.get(actor) is not crew or not self._pool.is_ready(actor):
                continue
            self._glances.append((now + pause, actor, crew))
            if crew.glance_asked is None:
                self._ask_for_glance(actor, crew, now)
            elif now - crew.glance_asked > self._hang_seconds:
                self._restart(actor)

    def _ask_for_glance(self, actor: str, crew: _Crew, now: float) -> None:
        crew.glance_asked = now
        call = self._pool.handle(actor).progress.remote()
        self._inbox.watch(call, lambda future: self._glance(actor, crew, future))

    def _glance(self, actor: str, crew: _Crew, future: "Future[Any]") -> None:
        if self._crews.get(actor) is not crew or not self._pool.is_ready(actor):
            return
        crew.glance_asked = None
        if _is_loss(future.exception()):
            self._fall_silent(actor, crew)
            return
        glance: Glance = future.result()
        crew.unsaved_seconds, crew.glanced = glance.unsaved_seconds, self._clock()
        self._events.append(Glimpsed(actor=actor, glance=glance))
        if glance.stuck_seconds > self._hang_seconds:
            self._restart(actor)

    def _restart(self, actor: str) -> None:
        """Ends the process of a hung actor; Ray starts another."""
        self._lose(actor, "hung")
        self._pool.restart(actor)

    def _pass_on_complaints(self) -> None:
        for complaint in self._pool.complaints:
            self._events.append(Said(text=f"an actor was replaced: {complaint}"))
        self._pool.complaints.clear()
        if self._pool.failure is not None and not self._is_leaving:
            raise RunError(f"no actor can work: {self._pool.failure}")


def _is_loss(error: BaseException | None) -> bool:
    """Whether a call failed with its actor, and not by itself."""
    if isinstance(error, NotLoaded):
        # Its process died, and another one has taken its place since.
        return True
    return isinstance(error, RayError) and not isinstance(error, RayTaskError)


def _ignore(future: "Future[Any]") -> None:
    """Takes note of an answer that nobody needs."""
    future.exception()
