"""Ctrl-C and SIGTERM: a run ends in order, with 128 + the number of the signal."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """What the first signal does: KeyboardInterrupt, or where somebody wants to end by himself, his
    `stop`. Whoever presses Ctrl-C again does not want to wait for that."""

    def __init__(self) -> None:
        self._signum: int | None = None
        self._stop: Callable[[], None] | None = None

    @property
    def exit_code(self) -> int:
        """Of a process that ends by the signal."""
        return 128 + (self._signum or signal.SIGINT)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes both signals."""
        previous = {s: signal.signal(s, self._take) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in previous.items():
                signal.signal(signum, handler)

    @contextmanager
    def softened(self, stop: Callable[[], None]) -> Iterator[None]:
        """A signal calls `stop`, and is KeyboardInterrupt only behind the block."""
        self._stop = stop
        try:
            yield
        finally:
            self._stop = None
        if self._signum is not None:
            raise KeyboardInterrupt

    def _take(self, signum: int, frame: FrameType | None) -> None:
        is_first, self._signum = self._signum is None, self._signum or signum
        if self._stop is not None and (is_first or signum == signal.SIGTERM):
            self._stop()
        else:
            raise KeyboardInterrupt
