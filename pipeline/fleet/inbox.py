"""Answers of calls to actors, on their way from Ray's threads to the one that wants them.

`ray.wait` looks at every call under way, which with thousands takes tens of milliseconds a turn. An
answer that announces itself costs the same however many are awaited.
"""

from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any

Take = Callable[[Future[Any]], None]
"""Takes an answer: a future that is done."""


class Inbox:
    """Calls that are awaited. `watch` and `deliver` belong to one thread."""

    def __init__(self) -> None:
        self._answers: SimpleQueue[tuple[Take, Future[Any]]] = SimpleQueue()

    def watch(self, call: Any, take: Take) -> None:
        """Has the answer to a call, an `ObjectRef`, given to `take` by a later `deliver`."""
        call.future().add_done_callback(lambda future: self._answers.put((take, future)))

    def deliver(self, timeout: float) -> None:
        """Hands out all answers that are there; waits up to `timeout` seconds for the first."""
        try:
            take, future = self._answers.get(timeout=timeout)
            while True:
                take(future)
                take, future = self._answers.get_nowait()
        except Empty:
            pass
