"""When the scenes of a worker are saved, and what becomes of their checkpoints.

    gang thread: due? gang.save ─▶ writing thread: to_bytes, Store.write_checkpoint
    publishing threads: commit ─▶ Store.remove_checkpoint

All of it is best effort: an error here is a warning, and the scene goes on. At most one scene is
saved at a time, the one whose last save is oldest, so that scenes which came together are saved one
after the other; only a worker that leaves saves all it has. A checkpoint goes when its asset is
committed, or when its seed is given up. A write that is then still under way is undone by its own
thread: whichever of the two comes last finds the other's mark.
"""

import logging
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from pipeline import retry
from pipeline.actors.assignments import Assignment
from pipeline.actors.engine_port import Gang, Saved
from pipeline.records import Attempt
from pipeline.storage.persistence import persist
from pipeline.store import Store

_LOG = logging.getLogger(__name__)
_NUM_WRITERS = 4


class Checkpointing:
    """Saves scenes into one store; with `every_seconds` of None it saves none."""

    def __init__(self, store: Store, *, every_seconds: float | None) -> None:
        self._store = store
        self._every_seconds = every_seconds
        self._latest: Future[None] | None = None
        self._writers = ThreadPoolExecutor(_NUM_WRITERS, thread_name_prefix="checkpoint")

    def due(self, assignments: Iterable[Assignment]) -> Assignment | None:
        """The scene that is to be saved now, if any."""
        if self._every_seconds is None or not (self._latest is None or self._latest.done()):
            return None
        oldest = min(assignments, key=lambda assignment: assignment.last_saved, default=None)
        is_due = oldest and time.monotonic() - oldest.last_saved >= self._every_seconds
        return oldest if is_due else None

    def save(self, gang: Gang, assignment: Assignment) -> "Future[None] | None":
        """Saves a resident as it is; the future is done when its checkpoint lies in the store, or
        cannot. None where nothing is to be saved."""
        if self._every_seconds is None:
            return None
        assignment.last_saved = time.monotonic()
        try:
            saved = gang.save(assignment.key)
        except Exception:
            # For want of memory, say. If it is the gang that is broken, its next step will tell.
            _LOG.warning("asset %s could not be saved", assignment.key, exc_info=True)
            return None
        assignment.writing = self._writers.submit(
            self._write, assignment, saved, assignment.writing
        )
        self._latest = assignment.writing
        return assignment.writing

    def remove(self, assignment: Assignment) -> None:
        """The assignment's checkpoints, written or under way, are of no more use."""
        assignment.is_over = True
        if assignment.has_checkpoint or assignment.attempt.may_resume:
            self._remove(assignment)

    def close(self) -> None:
        """Waits for what is under way."""
        self._writers.shutdown(wait=True, cancel_futures=True)

    def _write(self, assignment: Assignment, saved: Saved, before: "Future[None] | None") -> None:
        if before is not None:
            wait([before])  # or the older one could come last
        try:
            data = saved.to_bytes()
            if data is None or assignment.is_over:
                return
            assignment.has_checkpoint = True
            self._store.write_checkpoint(assignment.key, data)
            assignment.kept_seconds = saved.seconds
        except Exception:
            _LOG.warning(
                "the checkpoint of asset %s was not written", assignment.key, exc_info=True
            )
        if assignment.is_over:
            self._remove(assignment)

    def _remove(self, assignment: Assignment) -> None:
        try:
            self._store.remove_checkpoint(assignment.key)
        except Exception:
            _LOG.warning(
                "the checkpoint of asset %s was not removed", assignment.key, exc_info=True
            )


def read_checkpoint(store: Store, attempt: Attempt) -> bytes | None:
    """What an earlier attempt left for this one, if any."""
    if not attempt.may_resume:
        return None
    asset_id = attempt.task.asset_id
    try:
        return persist(lambda: store.read_checkpoint(asset_id), retry.STORE_DELAYS_SECONDS)
    except Exception:
        _LOG.warning("the checkpoint of asset %s cannot be read", asset_id, exc_info=True)
        return None
