"""Ctrl-C, SIGTERM and a closed terminal: a run ends in order, with 128 + the signal's number."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

from pipeline.signals import heard


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

    def listening(self) -> AbstractContextManager[None]:
        """Takes the signals over."""
        return heard(self._take)

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
        if self._stop is not None and (is_first or signum != signal.SIGINT):
            self._stop()
        else:
            raise KeyboardInterrupt
