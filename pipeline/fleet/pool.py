"""The actors of one recipe: started in waves, loaded before use, reached again after a death.

reaching ──ping──▶ loading ──load──▶ ready ──▶ leaving ──▶ ended, and another is started
    ▲                 │                │
    └─────────────────┴──── death ◀────┘

One that cannot be loaded is tried again, and soon replaced by another: machines and storage have
bad hours, and a pool never shrinks because of them. It fails only where nobody could be loaded at
all for the same reason again and again, or nobody has been ready for very long.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

import ray
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from pipeline.actor import ActorFacts
from pipeline.fleet.inbox import Inbox

MAX_COMING = 100
"""Actors that may be starting at once: so many machines pull images and read weights together."""
MAX_FAULTS = 3
"""Times in a row that an actor fails to load, or dies in it, before another takes its place; and
that the same happens in a pool that has never loaded any before it fails."""
FAULT_PAUSE_SECONDS = 5.0
ANSWER_DEADLINE_SECONDS = 1800.0
"""How long an actor may be out of reach: time enough for a cluster to find a new machine."""
_PING_PAUSE_SECONDS = 1.0


@dataclass
class _Member:
    handle: Any
    state: Literal["reaching", "loading", "ready", "leaving"] = "reaching"
    call: Any = None
    since: float = 0.0
    """The moment when it was last lost, made, or began to load."""
    ping_at: float = 0.0
    num_faults: int = 0
    """Failures to load, in a row."""
    facts: ActorFacts | None = None


@dataclass
class _Streak:
    """Faults of a pool, each with the same reason as the one before and begun after it: a hundred
    actors that stumble over one stone count once."""

    reason: str = ""
    length: int = 0
    last: float = 0.0

    def note(self, reason: str, *, began: float, now: float) -> None:
        """Counts a fault of something that was tried at `began`."""
        if reason != self.reason:
            self.reason, self.length, self.last = reason, 1, now
        elif began >= self.last:
            self.length, self.last = self.length + 1, now


class ActorPool:
    """At most `size` actors, made by `create` and loaded with the handle of an encoder, if there is
    one; `on_ready` hears the name of each that is loaded."""

    def __init__(
        self,
        create: Callable[[], Any],
        inbox: Inbox,
        *,
        size: int,
        on_ready: Callable[[str], None],
        encoder: Any = None,
        deadline_seconds: float = ANSWER_DEADLINE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._create = create
        self._inbox = inbox
        self._size = size
        self._on_ready = on_ready
        self._encoder = encoder
        self._deadline_seconds = deadline_seconds
        self._clock = clock
        self._members: dict[str, _Member] = {}
        self._coming: dict[str, _Member] = {}
        """The members that are reaching or loading."""
        self._num_created = 0
        self._create_at = 0.0
        self._streak = _Streak()
        self._has_loaded = False
        """Whether any actor has ever been ready."""
        self._ready_at = clock()
        """The last moment at which somebody was ready, or the first of the pool."""
        self.complaints: list[str] = []
        """Why actors were replaced, in order; whoever has heard them clears them."""
        self.failure: str | None = None
        """Why this pool cannot work."""

    @property
    def num_coming(self) -> int:
        """Actors that are starting or recovering."""
        return len(self._coming)

    def ready(self) -> list[str]:
        """Names of the actors that can be sent work."""
        return [name for name, member in self._members.items() if member.state == "ready"]

    def handle(self, name: str) -> Any:
        """The Ray handle of an actor."""
        return self._members[name].handle

    def node(self, name: str) -> str:
        """The machine on which an actor lives, or lived when it was last ready."""
        facts = self._members[name].facts
        assert facts is not None, f"{name} was never ready"
        return facts.node

    def is_ready(self, name: str) -> bool:
        """Whether an actor can be sent work."""
        return name in self._members and self._members[name].state == "ready"

    def is_awaited(self, name: str) -> bool:
        """Whether an actor is still to be reached, so that nobody knows what became of it."""
        return name in self._members and self._members[name].state == "reaching"

    def tend(self) -> None:
        """Starts what is missing, pings what is due, replaces what has been silent too long."""
        now = self._clock()
        self._note_readiness(now)
        self._start_missing(now)
        for name, member in list(self._coming.items()):
            if now - member.since > self._deadline_seconds:
                self.replace(name)
            elif member.state == "reaching" and member.call is None and now >= member.ping_at:
                self._call(name, member.handle.ping)

    def excuse(self, seconds: float) -> None:
        """Nobody listened for so long: silence meanwhile does not count."""
        self._ready_at += seconds
        for member in self._coming.values():
            member.since += seconds

    def recover(self, name: str) -> None:
        """An actor was seen to be out of reach: it is used again when it has answered."""
        member = self._coming[name] = self._members[name]
        member.state, member.call, member.since = "reaching", None, self._clock()
        member.ping_at = member.since + _PING_PAUSE_SECONDS

    def restart(self, name: str) -> None:
        """Ends an actor's process, in whose place Ray starts another."""
        ray.kill(self._members[name].handle, no_restart=False)
        self.recover(name)

    def part(self, name: str) -> None:
        """An actor is about to leave its machine: it gets no more work, and has to be replaced."""
        self._members[name].state = "leaving"

    def replace(self, name: str) -> None:
        """Ends an actor; another takes its place, on whatever machine there is."""
        self._coming.pop(name, None)
        ray.kill(self._members.pop(name).handle)

    def retire(self, name: str) -> None:
        """Ends an actor, so that its machine can go; none takes its place."""
        self._size -= 1
        self.replace(name)

    def retire_coming(self) -> None:
        """Ends all actors that are not ready yet, and starts no more."""
        for name in list(self._coming):
            self.retire(name)
        self._size = len(self._members)

    def close(self) -> None:
        """Ends all actors."""
        for name in list(self._members):
            self.retire(name)
        self._size = 0

    def _start_missing(self, now: float) -> None:
        if now < self._create_at:
            return
        while len(self._members) < self._size and self.num_coming < MAX_COMING:
            name, member = f"actor-{self._num_created}", _Member(self._create(), since=now)
            self._members[name] = self._coming[name] = member
            self._num_created += 1

    def _note_readiness(self, now: float) -> None:
        if len(self._members) > len(self._coming) or self._size <= 0:
            self._ready_at = now
        elif now - self._ready_at > self._deadline_seconds:
            last = f", the last fault: {self._streak.reason}" if self._streak.reason else ""
            self.failure = f"none has been ready for {self._deadline_seconds:.0f} s{last}"

    def _call(self, name: str, method: Any, *arguments: Any) -> None:
        member = self._members[name]
        call = member.call = method.remote(*arguments)
        self._inbox.watch(call, lambda future: self._answer(name, call, future))

    def _answer(self, name: str, call: Any, future: "Future[Any]") -> None:
        member = self._members.get(name)
        if member is None or member.call is not call:
            return
        member.call = None
        try:
            reply = future.result()
        except RayTaskError as error:
            self._fault(name, _last_line(error))
        except ActorDiedError as error:
            # Ray does not bring it back: it was never made, or was ended on purpose.
            self._fault(name, _last_line(error), is_final=True)
        except RayError as error:
            if member.state == "loading":
                self._fault(name, "it died while loading", detail=_last_line(error))
            else:
                self._reach(member, _PING_PAUSE_SECONDS)
        else:
            self._advance(name, reply)

    def _advance(self, name: str, reply: Any) -> None:
        member = self._members[name]
        if member.state == "loading":
            member.state, member.facts, member.num_faults = "ready", reply, 0
            self._has_loaded = True
            del self._coming[name]
            self._on_ready(name)
        elif member.facts is not None and reply == (member.facts.node, member.facts.pid):
            # It lived on while we could not reach it, with work that we have given up.
            ray.kill(member.handle, no_restart=False)
            self._reach(member, _PING_PAUSE_SECONDS)
        else:
            member.state, member.since = "loading", self._clock()
            self._call(name, member.handle.load, self._encoder)

    def _reach(self, member: _Member, pause: float) -> None:
        member.state, member.ping_at = "reaching", self._clock() + pause

    def _fault(self, name: str, reason: str, *, detail: str = "", is_final: bool = False) -> None:
        """An actor could not be loaded, with a `detail` that differs from one time to the next;
        after a final fault its handle is of no use."""
        now, member = self._clock(), self._members[name]
        said = " ".join((f"{reason}: {detail}" if detail else reason).split())
        member.num_faults += 1
        self._streak.note(reason, began=member.since, now=now)
        if not self._has_loaded and self._streak.length >= MAX_FAULTS:
            self.failure = said
        elif is_final or member.num_faults >= MAX_FAULTS:
            self.complaints.append(said)
            self._create_at = now + FAULT_PAUSE_SECONDS
            self.replace(name)
        else:
            self._reach(member, FAULT_PAUSE_SECONDS)


def _last_line(error: Exception) -> str:
    """Ray wraps tracebacks into its errors; the cause stands in the last line."""
    return str(error).strip().splitlines()[-1]
