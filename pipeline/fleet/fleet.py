"""The actors as the driver's loop sees them: names, orders out, events in; no ray and no clock.

          ┌──────────── Lost ◀────────────────────┐
          ▼                                       │
    coming ──Joined──▶ ready ──Parted──▶ open ────┤
          ▲                                       │
          └──────────── (nothing held) ◀──────────┘

An actor that has parted gets no orders until it joins again; what it holds is settled or lost. Two
fleets exist: `ray_fleet.RayFleet`, and the one that `simulate` draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.records import Attempt, Cause, Glance, Outcome


@dataclass(frozen=True, kw_only=True)
class Joined:
    """The actor can be sent attempts."""

    actor: str


@dataclass(frozen=True, kw_only=True)
class Parted:
    """The actor can be sent nothing more: it is out of reach, or its machine is about to go. In the
    second case it has been asked to leave, and what it holds settles as `preempted`."""

    actor: str


@dataclass(frozen=True, kw_only=True)
class Lost:
    """The actor is gone, with all that it held and had not answered; the verdict is final.

    `gpu_seconds` is an estimate, by asset id, of the device time that is lost with it: no
    checkpoint keeps it. What is missing there had not begun.
    """

    actor: str
    cause: Cause
    message: str
    gpu_seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Settled:
    """An attempt has been answered."""

    actor: str
    attempt: Attempt
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class Glimpsed:
    """The actor said how far it is."""

    actor: str
    glance: Glance


@dataclass(frozen=True, kw_only=True)
class Said:
    """Something that a user may want to read."""

    text: str


Event = Joined | Parted | Lost | Settled | Glimpsed | Said


class Fleet(Protocol):
    """Actors on their way, at work, and gone."""

    @property
    def num_coming(self) -> int:
        """Actors that are starting or recovering."""
        ...

    def send(self, actor: str, attempt: Attempt) -> None:
        """Orders an attempt; its answer comes as `Settled`, or the actor is `Lost`."""
        ...

    def events(self, timeout: float) -> Sequence[Event]:
        """What has happened, oldest first; waits up to `timeout` seconds for the first event.

        Starts, pings and replaces actors on the way. RunError where none can work.
        """
        ...

    def replace(self, actor: str) -> None:
        """Puts another in the place of an actor that fails what it is given. It has parted; what
        it holds settles as `preempted`, or is `Lost` with its machine."""
        ...

    def release(self, actor: str) -> None:
        """Ends an actor that holds nothing, so that its machine can go; none takes its place."""
        ...

    def release_coming(self) -> None:
        """Ends all actors that are not ready and hold nothing, and starts no more."""
        ...

    def leave(self) -> None:
        """Asks all actors to keep what they have and stop: all they hold settles as `preempted`."""
        ...

    def close(self) -> None:
        """Ends all actors."""
        ...
