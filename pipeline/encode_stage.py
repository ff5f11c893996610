"""The driver's side of the encode stage: the text actor is alive, and what it made goes again."""

from typing import Any

import ray
from ray.exceptions import RayError

from pipeline.embeddings import Wanted
from pipeline.errors import RunError
from pipeline.records import Task


class EncodeStage:
    """A text actor, by its Ray handle, and the entries that the run still wants."""

    def __init__(self, handle: Any, wanted: Wanted) -> None:
        self.handle = handle
        self._wanted = wanted
        self._loading: Any = handle.load.remote()

    def check(self) -> None:
        """RunError where the text encoder cannot be loaded: no prompt could be made."""
        if self._loading is None or not ray.wait([self._loading], timeout=0)[0]:
            return
        try:
            ray.get(self._loading)
        except RayError as error:
            reason = str(error).strip().splitlines()[-1]
            raise RunError(f"the text encoder cannot be loaded: {reason}") from error
        self._loading = None

    def ordered(self, task: Task) -> None:
        """An attempt at the task was sent."""
        self._wanted.ordered(task)

    def settled(self, task: Task) -> None:
        """A task is over, committed or given up."""
        self._wanted.settled(task)

    def clear(self) -> None:
        """All tasks are over: deletes what the actor made."""
        self._wanted.clear()

    def close(self) -> None:
        """Ends the actor."""
        ray.kill(self.handle)
        self._wanted.close()
