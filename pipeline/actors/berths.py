"""How many scenes an actor exports at a time: as many as it may, or fewer once memory ran out.

What fills the memory may be the neighbours, so that an export which finds none is not at fault
unless it is alone. This file knows no torch.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(eq=False, kw_only=True)
class Berth:
    """One that is taken, of `number` that there were; `is_shared` is whether anyone else has had
    one at any time since."""

    number: int
    is_shared: bool


class Berths:
    """Invariant: a berth is taken only while fewer are taken than there are."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._taken: list[Berth] = []
        self._change = threading.Condition()

    @contextmanager
    def one(self) -> Iterator[Berth]:
        """One of them, as soon as it is free."""
        with self._change:
            self._change.wait_for(lambda: len(self._taken) < self._number)
            berth = Berth(number=self._number, is_shared=bool(self._taken))
            for other in self._taken:
                other.is_shared = True
            self._taken.append(berth)
        try:
            yield berth
        finally:
            with self._change:
                self._taken.remove(berth)
                self._change.notify_all()

    def halve(self, number: int) -> None:
        """For good, if there still are as many as `number`: of those who ran out of memory at the
        same time the first is enough."""
        with self._change:
            self._number = min(self._number, max(1, number // 2))

    def leave_room(self) -> bool:
        """For someone else who ran out of memory: halves those that are taken, for good, and waits
        until so many are. False, at once, where no fewer can be."""
        with self._change:
            num_taken = len(self._taken)
            if num_taken <= self._number:  # else it was halved a moment ago
                if num_taken == 0 or self._number == 1:
                    return False
                self._number = max(1, num_taken // 2)
            self._change.wait_for(lambda: len(self._taken) <= self._number)
            return True
