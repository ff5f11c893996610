"""Garbage by its kind: what was removed and what waits, until when and for whom."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

AT_ONCE = 0.0
"""The moment of what need not wait."""

_READERS = "readers of an older state"
_COMPACTIONS = f"{_READERS} and compactions at work"
_WRITERS = "writers that may be at work"
_WAITS_FOR = {
    "one-asset files": _READERS,
    "packed files": _COMPACTIONS,
    "snapshots and indices": _COMPACTIONS,
    "checkpoints": "a run that goes on from them",
    "embeddings": _WRITERS,
    "temporaries": _WRITERS,
    "probes": _WRITERS,
}


@dataclass(frozen=True, kw_only=True)
class Garbage:
    """An object that may be deleted after the moment `due` (seconds since 1970)."""

    kind: str
    name: str
    num_bytes: int
    due: float


@dataclass(frozen=True, kw_only=True)
class Pile:
    """Objects of one kind, all of which may be deleted after the moment `due`."""

    count: int = 0
    num_bytes: int = 0
    due: float = AT_ONCE

    def with_one(self, garbage: Garbage) -> "Pile":
        """The same and one more."""
        return Pile(
            count=self.count + 1,
            num_bytes=self.num_bytes + garbage.num_bytes,
            due=max(self.due, garbage.due),
        )


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What was deleted, or would be, and what waits, by kind."""

    removed: Mapping[str, Pile]
    waiting: Mapping[str, Pile]


def render(collected: Collected, *, is_dry: bool) -> str:
    """A line for each kind that was removed, and one for each that waits."""
    verb = "would remove" if is_dry else "removed"
    lines = [f"{verb} {_counted(kind, pile)}" for kind, pile in collected.removed.items()]
    if not lines:
        lines = [f"{verb} nothing" + ("" if collected.waiting else ", and nothing waits to be")]
    lines += [_waits(kind, pile) for kind, pile in collected.waiting.items()]
    return "\n".join(lines)


def _waits(kind: str, pile: Pile) -> str:
    # In whole seconds, of which the first that is past it.
    moment = datetime.fromtimestamp(math.floor(pile.due) + 1, UTC).isoformat()
    reason = _WAITS_FOR[kind]
    return f"waiting for {reason}: {_counted(kind, pile)}, all may go from {moment} on"


def _counted(kind: str, pile: Pile) -> str:
    return f"{pile.count:,} {kind} ({pile.num_bytes / 1e6:,.1f} MB)"
