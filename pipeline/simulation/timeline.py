"""The simulated clock: what happens at which moment; it jumps over moments without events."""

import heapq
from collections.abc import Callable
from itertools import count


class Timeline:
    """Actions by their moments; of one moment, in the order in which they were planned."""

    def __init__(self) -> None:
        self._now = 0.0
        self._actions: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def now(self) -> float:
        """Seconds since the beginning."""
        return self._now

    @property
    def next_moment(self) -> float | None:
        """When the next action happens; None if nothing will happen any more."""
        return self._actions[0][0] if self._actions else None

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Plans an action."""
        heapq.heappush(self._actions, (self._now + seconds, next(self._numbers), action))

    def step(self) -> None:
        """Lets the next action happen."""
        self._now, _, action = heapq.heappop(self._actions)
        action()

    def wait_until(self, moment: float) -> None:
        """Lets the clock run to a moment before which nothing happens."""
        assert self.next_moment is None or self.next_moment >= moment, "something happens before"
        self._now = max(self._now, moment)
