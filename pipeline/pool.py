"""The actors of one recipe: started in waves, loaded before use, reached again after a death.

reaching ──ping──▶ loading ──load──▶ ready ──▶ leaving ──▶ ended, and another is started
    ▲                 │                │
    └─────────────────┴──── death ◀────┘        dropped: loading failed, or too many deaths in
                                                it, or no answer for too long from any
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

import ray
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from pipeline.actor import ActorFacts
from pipeline.inbox import Inbox

MAX_COMING = 100
"""Actors that may be starting at once: so many machines pull images and read weights together."""
MAX_LOADING_DEATHS = 3
"""Deaths in a row while loading (memory, a broken driver) after which an actor is given up."""
ANSWER_DEADLINE_SECONDS = 1800.0
"""How long an actor may be out of reach: time enough for a cluster to find a new machine."""
_PING_PAUSE_SECONDS = 1.0


@dataclass
class _Member:
    handle: Any
    state: Literal["reaching", "loading", "ready", "leaving"] = "reaching"
    call: Any = None
    since: float = 0.0
    ping_at: float = 0.0
    num_loading_deaths: int = 0
    facts: ActorFacts | None = None


class ActorPool:
    """At most `size` actors, made by `create`; `on_ready` hears the name of each that is loaded."""

    def __init__(
        self,
        create: Callable[[], Any],
        inbox: Inbox,
        *,
        size: int,
        on_ready: Callable[[str], None],
        deadline_seconds: float = ANSWER_DEADLINE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._create = create
        self._inbox = inbox
        self._size = size
        self._on_ready = on_ready
        self._deadline_seconds = deadline_seconds
        self._clock = clock
        self._members: dict[str, _Member] = {}
        self._coming: dict[str, _Member] = {}
        """The members that are reaching or loading."""
        self._num_created = 0
        self.complaints: list[str] = []
        """Why actors were dropped, in order."""

    @property
    def num_coming(self) -> int:
        """Actors that are starting or recovering."""
        return len(self._coming)

    @property
    def is_spent(self) -> bool:
        """Whether no actor is left and none will come."""
        return not self._members and self._size <= 0

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
        """Starts what is missing, pings what is due, drops what has been silent too long."""
        now = self._clock()
        while len(self._members) < self._size and self.num_coming < MAX_COMING:
            name, member = f"actor-{self._num_created}", _Member(self._create(), since=now)
            self._members[name] = self._coming[name] = member
            self._num_created += 1
        for name, member in list(self._coming.items()):
            if now - member.since > self._deadline_seconds:
                self._give_up_waiting(name)
            elif member.state == "reaching" and member.call is None and now >= member.ping_at:
                self._call(name, member.handle.ping)

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

    def _call(self, name: str, method: Any) -> None:
        member = self._members[name]
        call = member.call = method.remote()
        self._inbox.watch(call, lambda future: self._answer(name, call, future))

    def _answer(self, name: str, call: Any, future: "Future[Any]") -> None:
        member = self._members.get(name)
        if member is None or member.call is not call:
            return
        member.call = None
        try:
            reply = future.result()
        except RayTaskError as error:
            self._drop(name, _last_line(error))
        except ActorDiedError as error:
            # Ray does not bring it back: it was never made, or was ended on purpose.
            self._drop(name, _last_line(error))
        except RayError as error:
            self._note_death(name, error)
        else:
            self._advance(name, reply)

    def _advance(self, name: str, reply: Any) -> None:
        member = self._members[name]
        if member.state == "loading":
            member.state, member.facts, member.num_loading_deaths = "ready", reply, 0
            del self._coming[name]
            self._on_ready(name)
        elif member.facts is not None and reply == member.facts.pid:
            # It lived on while we could not reach it, with work that we have given up.
            ray.kill(member.handle, no_restart=False)
            member.ping_at = self._clock() + _PING_PAUSE_SECONDS
        else:
            member.state = "loading"
            self._call(name, member.handle.load)

    def _note_death(self, name: str, error: Exception) -> None:
        member = self._members[name]
        if member.state == "loading":
            member.num_loading_deaths += 1
            if member.num_loading_deaths >= MAX_LOADING_DEATHS:
                self._drop(name, f"died {MAX_LOADING_DEATHS} times while loading: {error}")
                return
        member.state = "reaching"
        member.ping_at = self._clock() + _PING_PAUSE_SECONDS

    def _give_up_waiting(self, name: str) -> None:
        """While others work a machine may yet come; where nobody does, this is the end."""
        if self.ready():
            self.replace(name)
        else:
            self._drop(name, f"no answer for {self._deadline_seconds:.0f} s")

    def _drop(self, name: str, reason: str) -> None:
        self.complaints.append(" ".join(reason.split()))
        self.retire(name)


def _last_line(error: Exception) -> str:
    """Ray wraps tracebacks into its errors; the cause stands in the last line."""
    return str(error).strip().splitlines()[-1]
