"""The optimisation actor: Ray's face of a `Worker`, one to a device.

`optimize(attempt)` awaits a slot, the optimisation, the export and the commit, and answers with an
`Outcome` of about 1 KB.
"""

import asyncio
import os
import time
from dataclasses import dataclass, replace
from typing import Any

from pipeline.actors.checkpointing import Checkpointing
from pipeline.actors.engine_port import EngineFactory, EngineSpec
from pipeline.actors.preparation import Preparer
from pipeline.actors.publisher import Publisher, StageError
from pipeline.actors.worker import Observe, Worker
from pipeline.metrics import METRICS, PREFIX
from pipeline.records import Attempt, Glance, Outcome
from pipeline.store import Store

_LEAVE_SECONDS = 8.0
"""Time to save the scenes of an actor that has to go; the driver waits for 10."""


@dataclass(frozen=True, kw_only=True)
class ActorFacts:
    """Where an actor lives: the answer to `load`."""

    node: str
    pid: int
    device: str


class NotLoaded(Exception):
    """This process has loaded nothing: the one that had is dead, and Ray has started another."""


class OptimizationActor:
    """The constructor does nothing that can fail: one that dies is started again by Ray without
    end, whereas a failed `load` is an answer that the driver can count."""

    def __init__(self, factory: EngineFactory, spec: EngineSpec, store: Store) -> None:
        self._factory = factory
        self._spec = spec
        self._store = store
        self._preparer = Preparer(spec, store, None)
        self._worker: Worker | None = None
        self._device = ""
        self._loading = asyncio.Lock()
        self._preparing: dict[asyncio.Task[tuple[bytes | None, bytes | None]], float] = {}
        """Since when, by `time.monotonic`."""

    async def ping(self) -> tuple[str, int]:
        """Answers at once, with machine and process id: the process is there."""
        return _node(), os.getpid()

    async def load(self, encoder: Any = None) -> ActorFacts:
        """Loads the engine, at the first call and again after a restart.

        `encoder` is the handle of the `TextActor` that embeds texts for this one. It comes here and
        not in the constructor because Ray warns of restarts that need a handle.
        """
        node = _node()
        async with self._loading:
            if self._worker is None:
                self._preparer = Preparer(self._spec, self._store, encoder)
                self._worker = await asyncio.to_thread(self._start)
        return ActorFacts(node=node, pid=os.getpid(), device=self._device)

    async def optimize(self, attempt: Attempt) -> Outcome:
        """One attempt, from its texts to its commit."""
        worker, preparing = self._loaded(), asyncio.create_task(self._preparer.prepare(attempt))
        self._preparing[preparing] = time.monotonic()
        try:
            await asyncio.wait([preparing])
        finally:
            del self._preparing[preparing]
        try:
            # What `leave` has cancelled needs nothing any more: the worker preempts it.
            text, checkpoint = (None, None) if preparing.cancelled() else preparing.result()
        except StageError as error:
            return _unprepared(attempt, error)
        return await asyncio.wrap_future(worker.submit(attempt, text, checkpoint))

    async def progress(self) -> Glance:
        """How far its scenes are; an attempt that is being prepared is work that does not move."""
        glance, now = self._loaded().glance(), time.monotonic()
        waited = now - min(self._preparing.values(), default=now)
        return replace(glance, stuck_seconds=max(glance.stuck_seconds, waited))

    async def leave(self) -> None:
        """Saves what it has and answers it as preempted, as `Worker.leave`: the machine goes."""
        if self._worker is not None:
            await asyncio.to_thread(self._worker.leave, _LEAVE_SECONDS)
            for preparing in self._preparing:
                preparing.cancel()

    async def stop(self) -> None:
        """Ends the worker's threads after the current step."""
        if self._worker is not None:
            await asyncio.to_thread(self._worker.stop)

    def _loaded(self) -> Worker:
        if self._worker is None:
            raise NotLoaded
        return self._worker

    def _start(self) -> Worker:
        engine = self._factory(self._spec)
        self._device = engine.device
        return Worker(
            engine,
            Publisher(engine, self._store, num_exports=self._spec.num_exports),
            Checkpointing(self._store, every_seconds=self._spec.checkpoint_seconds),
            observe=_ray_observer("actor_stage_seconds"),
            observe_part=_ray_observer("actor_step_part_seconds"),
        )


def _unprepared(attempt: Attempt, error: StageError) -> Outcome:
    return Outcome(
        asset_id=attempt.task.asset_id,
        attempt_id=attempt.attempt_id,
        status="failed",
        error_kind=error.kind,
        message=str(error)[:1000],
    )


def _node() -> str:
    """The machine's id in the cluster."""
    import ray

    return ray.get_runtime_context().get_node_id()


def _ray_observer(name: str) -> Observe:
    """Puts times into one of Ray's own metrics, whose one label says of what they are."""
    from ray.util.metrics import Histogram

    metric = METRICS[name]
    (label,) = metric.labels
    histogram = Histogram(
        PREFIX + metric.name,
        metric.help,
        boundaries=list(metric.buckets),
        tag_keys=(label,),
    )

    def observe(value: str, seconds: float) -> None:
        histogram.observe(seconds, tags={label: value})

    return observe
