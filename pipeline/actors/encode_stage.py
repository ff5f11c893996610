"""The driver's side of the encode stage: the text actor is alive, and what it made goes again.

loading ──▶ pinged now and then ──no answer, or too long at one batch──▶ ended; Ray restarts it
                              ▲                                                 │
                              └─────────────────────────────────────────────────┘
"""

import time
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError

from pipeline.actors.embeddings import Wanted
from pipeline.errors import RunError
from pipeline.records import Task

_PING_SECONDS = 30.0
_HUNG_SECONDS = 300.0
"""How long a ping, or a batch, may take: what a batch waits for takes seconds."""
_MOST_HANGS = 3
_GONE_SECONDS = 10.0
"""How long Ray may take to say that an actor has ended."""


class EncodeStage:
    """A text actor, by its Ray handle, and the entries that the run still wants."""

    def __init__(
        self, handle: Any, wanted: Wanted, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.handle = handle
        self._wanted = wanted
        self._clock = clock
        self._loading: Any = handle.load.remote()
        self._ping: Any = None
        self._asked = clock()
        self._num_hangs = 0

    def check(self) -> None:
        """RunError where the text encoder cannot be loaded, or hangs again and again: no prompt
        could be made."""
        if self._loading is not None and _is_answered(self._loading):
            self._heed_loading()
        now = self._clock()
        if self._ping is None:
            if now - self._asked >= _PING_SECONDS:
                self._ping, self._asked = self.handle.ping.remote(), now
        elif _is_answered(self._ping):
            self._heed_ping()
        elif now - self._asked > _HUNG_SECONDS:
            self._restart()

    def ordered(self, task: Task) -> None:
        """An attempt at the task was sent."""
        self._wanted.ordered(task)

    def settled(self, task: Task) -> None:
        """A task is over, committed or given up."""
        self._wanted.settled(task)

    def clear(self) -> None:
        """All tasks are over: ends the actor, then deletes what it made.

        Where its machine was lost, Ray has it repeat calls whose tasks are long settled; what it
        wrote after the deletion would stay.
        """
        ray.kill(self.handle)
        # Not repeated: Ray would say so, loudly.
        ping = self.handle.ping.options(max_task_retries=0).remote()
        ray.wait([ping], timeout=_GONE_SECONDS)
        self._wanted.clear()

    def close(self) -> None:
        """Ends the actor."""
        ray.kill(self.handle)
        self._wanted.close()

    def _heed_loading(self) -> None:
        try:
            ray.get(self._loading)
        except RayError as error:
            reason = str(error).strip().splitlines()[-1]
            raise RunError(f"the text encoder cannot be loaded: {reason}") from error
        self._loading = None

    def _heed_ping(self) -> None:
        try:
            seconds: float = ray.get(self._ping)
        except RayError:
            # Its process has died and comes again.
            seconds = 0.0
        self._ping, self._asked = None, self._clock()
        if seconds > _HUNG_SECONDS:
            self._restart()

    def _restart(self) -> None:
        """Ends a hung process; Ray starts another, and repeats the calls that it held."""
        self._num_hangs += 1
        if self._num_hangs > _MOST_HANGS:
            raise RunError(
                f"the text encoder hung {self._num_hangs} times for {_HUNG_SECONDS:.0f} s: look at "
                "its machine, and at its log in Ray's dashboard"
            )
        ray.kill(self.handle, no_restart=False)
        self._ping, self._asked = None, self._clock()


def _is_answered(call: Any) -> bool:
    return bool(ray.wait([call], timeout=0)[0])
