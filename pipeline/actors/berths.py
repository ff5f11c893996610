"""How many scenes an actor exports at a time: as many as it may, or fewer once memory ran out.

What fills the memory may be the neighbours, so that an export which finds none is not at fault
unless it is alone. This file knows no torch.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Berths:
    """Invariant: no more are taken than there were when the last one was."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._num_taken = 0
        self._change = threading.Condition()

    @contextmanager
    def one(self) -> Iterator[int]:
        """One of them, as soon as it is free; yields how many there are."""
        with self._change:
            self._change.wait_for(lambda: self._num_taken < self._number)
            self._num_taken += 1
            number = self._number
        try:
            yield number
        finally:
            with self._change:
                self._num_taken -= 1
                self._change.notify_all()

    def halve(self, number: int) -> None:
        """For good, if there still are as many as `number`: of those who ran out of memory at the
        same time the first is enough."""
        with self._change:
            self._number = min(self._number, max(1, number // 2))
