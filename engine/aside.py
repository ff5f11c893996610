"""Work on a gang's device while the gang goes on: exports.

The host of a gang is some steps ahead of its device. On the same stream a result that is waited for
would come behind all of them; on another, of higher priority, it comes next. Each thread has a
stream of its own, so that none waits for what another has asked for.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Aside:
    """Streams beside the gang's, one a thread; on a CPU nothing."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._own = threading.local()

    @contextmanager
    def after(self, ready: torch.cuda.Event | None) -> Iterator[None]:
        """What is asked of the device within it begins when `ready` (see `mark`) is done.

        Nothing may be under way any more at its end: results are on the host by then.
        """
        if ready is None:
            yield
            return
        stream = self._stream()
        stream.wait_event(ready)
        with torch.cuda.stream(stream):
            yield

    def _stream(self) -> torch.cuda.Stream:
        """This thread's."""
        if not hasattr(self._own, "stream"):
            self._own.stream = torch.cuda.Stream(self._device, priority=-1)
        return self._own.stream


def mark(device: torch.device) -> torch.cuda.Event | None:
    """All that has been asked of the device's current stream so far; None on a CPU."""
    if device.type != "cuda":
        return None
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return event
