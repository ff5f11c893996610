"""What the parts of a step cost on the device, measured without waiting for it.

On a CUDA device a moment is an event in the stream, whose time is asked for steps later, when the
device has got there; on a CPU it is the clock's. The parts of a step add up to the time from its
start to its stop, on the clock of the device.
"""

import time
from collections import deque
from typing import Any, Protocol, runtime_checkable

import torch

MOST_UNREAD = 256
"""Steps that are kept for a reader; without one the oldest are forgotten."""


@runtime_checkable  # for the checks of types in tests
class _Event(Protocol):
    """A moment in a device's work (`torch.cuda.Event`)."""

    def query(self) -> bool: ...
    def elapsed_time(self, end_event: Any) -> float: ...


_Moment = float | _Event


@runtime_checkable  # for the checks of types in tests
class Laps(Protocol):
    """Whatever is told how far a step has come."""

    def lap(self, part: str) -> None:
        """What was done since the last lap is of this part."""
        ...


class Stopwatch:
    """`start`, a `lap` behind each part, `stop`; whoever wants to know calls `read`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._moments: list[tuple[str, _Moment]] = []
        self._stopped: deque[list[tuple[str, _Moment]]] = deque(maxlen=MOST_UNREAD)

    def start(self) -> None:
        """A step begins; one that was not stopped is forgotten."""
        self._moments = [("", self._now())]

    def lap(self, part: str) -> None:
        """What was done since the last lap is of this part. A part may have several."""
        self._moments.append((part, self._now()))

    def stop(self, part: str) -> None:
        """The last lap of a step."""
        self.lap(part)
        self._stopped.append(self._moments)
        self._moments = []

    def read(self) -> list[dict[str, float]]:
        """Seconds by part of each step that the device has done, oldest first, each once."""
        steps = []
        while self._stopped and _has_come(self._stopped[0][-1][1]):
            steps.append(_seconds(self._stopped.popleft()))
        return steps

    def _now(self) -> _Moment:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event


def _has_come(moment: _Moment) -> bool:
    return isinstance(moment, float | int) or moment.query()


def _seconds(moments: list[tuple[str, _Moment]]) -> dict[str, float]:
    parts: dict[str, float] = {}
    (_, before), *laps = moments
    for part, now in laps:
        parts[part] = parts.get(part, 0.0) + _between(before, now)
        before = now
    return parts


def _between(before: _Moment, now: _Moment) -> float:
    if isinstance(before, float | int):
        assert isinstance(now, float | int)
        return now - before
    return before.elapsed_time(now) / 1000.0
