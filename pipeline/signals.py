"""Signals that ask this process to end: SIGTERM, Ctrl-C, a closed terminal."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def heard(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Has `handler` take them; one that is ignored, as under `nohup`, stays so."""
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    taken = {s: known for s, known in before.items() if known is not signal.SIG_IGN}
    for signum in taken:
        signal.signal(signum, handler)
    try:
        yield
    finally:
        for signum, known in taken.items():
            signal.signal(signum, known)
