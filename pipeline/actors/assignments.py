"""The attempts inside an actor, each answered once, by whichever thread is first.

Moments are of `time.monotonic`, 0 before they come. An assignment's fields belong to the thread
that has it; `kept_seconds` and what follows it are written by the thread that writes its
checkpoint.
"""

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field

from pipeline import retry
from pipeline.records import Attempt, Outcome


@dataclass(kw_only=True, eq=False)
class Assignment:
    """An attempt and how far it has come.

    `seconds` is the device time of its scene, `kept_seconds` the part of it that a checkpoint
    keeps; `is_over` says that no checkpoint of it is of use any more.
    """

    attempt: Attempt
    text: bytes | None = None
    checkpoint: bytes | None = None
    future: "Future[Outcome]" = field(default_factory=Future)
    submitted: float = field(default_factory=time.monotonic)
    admitted: float = 0.0
    optimised: float = 0.0
    num_resumed_steps: int = 0
    seconds: float = 0.0
    is_publishing: bool = False
    last_saved: float = 0.0
    writing: "Future[None] | None" = None
    kept_seconds: float = 0.0
    has_checkpoint: bool = False
    is_over: bool = False

    @property
    def key(self) -> str:
        """The asset's id."""
        return self.attempt.task.asset_id

    @property
    def unsaved_seconds(self) -> float:
        """Device time that is lost if the process dies now."""
        return max(self.seconds - self.kept_seconds, 0.0)

    def failure(self, kind: str, message: str) -> Outcome:
        """The outcome of a failure at this point."""
        # Another seed begins anew: no checkpoint keeps what this one cost.
        kept = 0.0 if retry.policy(kind).change == "new_seed" else self.kept_seconds
        return Outcome(
            asset_id=self.key,
            attempt_id=self.attempt.attempt_id,
            status="failed",
            error_kind=kind,
            message=message[:1000],
            gpu_seconds=max(self.seconds - kept, 0.0),
            num_resumed_steps=self.num_resumed_steps,
        )


class Assignments:
    """Invariant: what was put in and not answered is in here, and its future is open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[int, Assignment] = {}

    def __len__(self) -> int:
        return len(self._open)

    def put(self, assignment: Assignment) -> None:
        """Takes in an assignment that will be answered."""
        with self._lock:
            self._open[id(assignment)] = assignment

    def answer(self, assignment: Assignment, outcome: Outcome) -> None:
        """Resolves an assignment's future, unless it has been answered already."""
        with self._lock:
            is_first = self._open.pop(id(assignment), None) is not None
        if is_first:
            assignment.future.set_result(outcome)

    def open(self) -> list[Assignment]:
        """What is not answered."""
        with self._lock:
            return list(self._open.values())
