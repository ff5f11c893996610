"""How far a host may be ahead of its device.

A replayed step costs the host next to nothing, so that hundreds could wait in the device's queue.
What is asked of the device then, a checkpoint before a machine goes away, comes behind all of them,
and what is told of the run's progress has not happened yet.
"""

from collections import deque

import torch

STEPS = 8
"""Enough that the device never waits for the host."""


class Leash:
    """Told of each step; waits for the one so many before. On a CPU it never waits."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._steps: deque[torch.cuda.Event] = deque()

    def hold(self) -> None:
        """A step has been asked for."""
        if self._device.type != "cuda":
            return
        # Blocking: whoever waits leaves the processor to exports.
        event = torch.cuda.Event(blocking=True)
        event.record(torch.cuda.current_stream(self._device))
        self._steps.append(event)
        if len(self._steps) > STEPS:
            self._steps.popleft().synchronize()
