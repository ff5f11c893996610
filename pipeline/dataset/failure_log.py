"""Records of failures on their way to the store, which no one waits for.

A store that is out of reach keeps a write for minutes. The loop that hears all actors does not
stand still for a record that only says how often a prompt was tried.
"""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from pipeline.records import Failure
from pipeline.storage import places

MOST_WAITING = 1000
"""Records that may wait; what comes while so many do is not kept."""


class FailureLog:
    """Writes in order, from a thread of its own. All but the writing belongs to one thread."""

    def __init__(self, write: Callable[[Failure], None]) -> None:
        """`write` keeps a record, or raises what its storage raises."""
        self._write = write
        self._waiting: SimpleQueue[Failure | None] = SimpleQueue()
        self._refused: SimpleQueue[str] = SimpleQueue()
        # A daemon: the process may end although a write does not.
        self._thread = threading.Thread(target=self._run, name="failures", daemon=True)
        self._thread.start()

    def keep(self, failure: Failure) -> None:
        """Has a record written soon."""
        if self._waiting.qsize() < MOST_WAITING:
            self._waiting.put(failure)
        else:
            self._refused.put(f"{MOST_WAITING} others wait for the storage")

    def refusals(self) -> list[str]:
        """Why records were not kept, one reason a record, since the last call."""
        reasons: list[str] = []
        while True:
            try:
                reasons.append(self._refused.get_nowait())
            except Empty:
                return reasons

    def close(self, timeout: float) -> None:
        """Waits up to `timeout` seconds for what is not written yet; the rest is refused."""
        self._waiting.put(None)
        self._thread.join(timeout)
        if self._thread.is_alive():
            # One is being written, the last is no record.
            for _ in range(max(1, self._waiting.qsize())):
                self._refused.put(f"the storage took none for {timeout:.0f} s")

    def _run(self) -> None:
        while (failure := self._waiting.get()) is not None:
            try:
                self._write(failure)
            except Exception as error:  # storage clients have no common family of errors
                self._refused.put(places.reason(error))
