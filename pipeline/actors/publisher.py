"""From a finished scene to a committed asset: export, one Parquet file, create-if-absent."""

import logging
import time
from dataclasses import dataclass

from pipeline import retry
from pipeline.actors.berths import Berths
from pipeline.actors.engine_port import Engine, Finished
from pipeline.dataset.asset_table import asset_table, to_parquet_bytes
from pipeline.dataset.opacity import mean_opacity
from pipeline.records import Attempt, CommitResult, Provenance
from pipeline.storage.persistence import persist
from pipeline.store import Store

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Exported:
    """An asset as it is to be stored, and the figures of it that an outcome tells."""

    table_bytes: bytes
    mesh_status: str
    mesh_faces: int
    opacity: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Published:
    """An asset that lies in the store. `num_bytes` is 0 if somebody else had put it there.
    `export_seconds` are of the try that made it, without waiting for a berth. The rest is as in
    `Outcome`, of what this attempt made."""

    result: CommitResult
    num_bytes: int
    mesh_status: str
    mesh_faces: int
    opacity: float
    export_seconds: float
    commit_seconds: float


class StageError(Exception):
    """What went wrong in one stage of one attempt; `kind` is a key of `retry.TABLE`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Publisher:
    """Exports with one engine into one store."""

    def __init__(
        self,
        engine: Engine,
        store: Store,
        *,
        num_exports: int = 1,
        store_delays: tuple[float, ...] = retry.STORE_DELAYS_SECONDS,
    ) -> None:
        """`num_exports` run at a time, on as many threads; fewer where they run out of memory."""
        self.num_exports = num_exports
        self._berths = Berths(num_exports)
        self._engine = engine
        self._store = store
        self._store_delays = store_delays
        self._carried = store.carried_schema()

    def publish(self, attempt: Attempt, finished: Finished) -> Published:
        """Makes the asset and commits it. Raises StageError."""
        try:
            made = self._exported(attempt, finished)
        except Exception as error:
            raise StageError(retry.classify(error, stage="export"), described(error)) from error
        exported = time.monotonic()
        result = self._commit(attempt.task.asset_id, made.table_bytes)
        return Published(
            result=result,
            num_bytes=len(made.table_bytes) if result == "committed" else 0,
            mesh_status=made.mesh_status,
            mesh_faces=made.mesh_faces,
            opacity=made.opacity,
            export_seconds=made.seconds,
            commit_seconds=time.monotonic() - exported,
        )

    def leave_room(self) -> bool:
        """Whether fewer exports go on at a time from now on, as the gang has no memory beside them;
        returns when so many are done."""
        is_less = self._berths.leave_room()
        if is_less:
            _LOG.warning("for want of memory in the gang fewer exports are made at a time")
        return is_less

    def _exported(self, attempt: Attempt, finished: Finished) -> _Exported:
        """As `_export`; want of memory is an error only where no other export took any."""
        while True:
            with self._berths.one() as berth:
                try:
                    return self._export(attempt, finished)
                except Exception as error:
                    kind = retry.classify(error, stage="export")
                    if kind != "out_of_memory" or not berth.is_shared:
                        raise
            self._berths.halve(berth.number)
            _LOG.warning("for want of memory %d exports at a time are too many", berth.number)

    def _export(self, attempt: Attempt, finished: Finished) -> _Exported:
        start = time.monotonic()
        asset = self._engine.export(finished, _metadata(attempt))
        provenance = Provenance(
            attempt_id=attempt.attempt_id,
            seed_used=attempt.seed,
            attempts=attempt.number,
            iterations=finished.iterations,
            gpu_seconds=finished.seconds,
            device=self._engine.device,
            peak_memory_bytes=self._engine.peak_memory_bytes(),
            losses=dict(finished.losses),
        )
        table = asset_table(attempt.task, asset, provenance, self._carried)
        return _Exported(
            table_bytes=to_parquet_bytes(table),
            mesh_status=asset.mesh_status,
            mesh_faces=int(asset.mesh["mesh_faces"]),
            opacity=mean_opacity(asset.views),
            seconds=time.monotonic() - start,
        )

    def _commit(self, asset_id: str, table_bytes: bytes) -> CommitResult:
        """Tries a few times: minutes of optimisation hang on one upload."""
        try:
            return persist(lambda: self._store.commit(asset_id, table_bytes), self._store_delays)
        except Exception as error:
            raise StageError(retry.classify(error, stage="store"), described(error)) from error


def described(error: Exception) -> str:
    """An error by its type and its words."""
    return f"{type(error).__name__}: {error}"


def _metadata(attempt: Attempt) -> dict[str, str]:
    """What the GLB says about itself."""
    task = attempt.task
    return {
        "generator": "dreambatch",
        "asset_id": task.asset_id,
        "prompt": task.prompt.prompt,
        "negative_prompt": task.prompt.negative_prompt,
        "seed": str(attempt.seed),
        "recipe": task.recipe_name,
        "recipe_digest": task.recipe_digest,
        "guidance": task.guidance,
        "guidance_digest": task.guidance_digest,
    }
