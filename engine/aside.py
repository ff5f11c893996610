"""Work on a gang's device while the gang goes on: exports.

The host of a gang is some steps ahead of its device. On the same stream a result that is waited for
would come behind all of them; on another, of higher priority, it comes next.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Aside:
    """A stream beside the gang's; on a CPU nothing."""

    def __init__(self, device: torch.device) -> None:
        is_gpu = device.type == "cuda"
        self._stream = torch.cuda.Stream(device, priority=-1) if is_gpu else None

    @contextmanager
    def after(self, ready: torch.cuda.Event | None) -> Iterator[None]:
        """What is asked of the device within it begins when `ready` (see `mark`) is done.

        Nothing may be under way any more at its end: results are on the host by then.
        """
        if self._stream is None or ready is None:
            yield
            return
        self._stream.wait_event(ready)
        with torch.cuda.stream(self._stream):
            yield


def mark(device: torch.device) -> torch.cuda.Event | None:
    """All that has been asked of the device's current stream so far; None on a CPU."""
    if device.type != "cuda":
        return None
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return event
