"""The optimisation actor: Ray's face of a `Worker`, one to a device.

`optimize(attempt)` awaits a slot, the optimisation, the export and the commit, and answers with an
`Outcome` of about 1 KB.
"""

import asyncio
import os
from dataclasses import dataclass
from typing import Any

from pipeline.checkpointing import Checkpointing, read_checkpoint
from pipeline.embeddings import entry_of
from pipeline.engine_port import EngineFactory, EngineSpec, texts_asked
from pipeline.fleet import Glance
from pipeline.metrics import METRICS, PREFIX
from pipeline.publisher import Publisher
from pipeline.records import Outcome, Prompt
from pipeline.schedule import Attempt
from pipeline.seals import unseal
from pipeline.store import Store
from pipeline.worker import Observe, Worker

_MOST_EMBEDDED = 3
"""How often the texts of an attempt are asked for, at most."""
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

    def __init__(
        self, factory: EngineFactory, spec: EngineSpec, store: Store, encoder: Any = None
    ) -> None:
        """`encoder` is the handle of the `TextActor` that embeds texts for this one."""
        self._factory = factory
        self._encoder = encoder
        self._spec = spec
        self._store = store
        self._worker: Worker | None = None
        self._device = ""
        self._loading = asyncio.Lock()
        self._preparing: set[asyncio.Task[tuple[bytes | None, bytes | None]]] = set()

    async def ping(self) -> int:
        """Answers at once, with the process's id: the process is there."""
        return os.getpid()

    async def load(self) -> ActorFacts:
        """Loads the engine, at the first call and again after a restart."""
        import ray

        node = ray.get_runtime_context().get_node_id()
        async with self._loading:
            if self._worker is None:
                self._worker = await asyncio.to_thread(self._start, node)
        return ActorFacts(node=node, pid=os.getpid(), device=self._device)

    async def optimize(self, attempt: Attempt) -> Outcome:
        """One attempt, from slot to commit."""
        worker, preparing = self._loaded(), asyncio.create_task(self._prepared(attempt))
        self._preparing.add(preparing)
        try:
            await asyncio.wait([preparing])
        finally:
            self._preparing.discard(preparing)
        # What `leave` has cancelled needs nothing any more: the worker preempts it.
        text, checkpoint = (None, None) if preparing.cancelled() else preparing.result()
        return await asyncio.wrap_future(worker.submit(attempt, text, checkpoint))

    async def progress(self) -> Glance:
        """How far its scenes are."""
        return self._loaded().glance()

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

    async def _prepared(self, attempt: Attempt) -> tuple[bytes | None, bytes | None]:
        """The embedded texts and the checkpoint of an attempt, each where there is one."""
        text = None if self._encoder is None else await self._embedded(attempt.task.prompt)
        return text, await asyncio.to_thread(read_checkpoint, self._store, attempt)

    async def _embedded(self, prompt: Prompt) -> bytes:
        """The prompt's texts, embedded by the encoder; a damaged entry is made again."""
        texts, name = texts_asked(self._spec, prompt), entry_of(self._spec, prompt)
        for _ in range(_MOST_EMBEDDED):
            await self._encoder.embed.remote(texts)
            data = await asyncio.to_thread(self._store.read_embedding, name)
            if (text := unseal(data)) is not None:
                return text
        raise OSError(f"{self._store.url}/_embeddings/{name} is damaged or gone as soon as written")

    def _start(self, node: str) -> Worker:
        engine = self._factory(self._spec)
        self._device = engine.device
        return Worker(
            engine,
            Publisher(engine, self._store),
            Checkpointing(self._store, every_seconds=self._spec.checkpoint_seconds),
            node=node,
            observe=_ray_observer(),
        )


def _ray_observer() -> Observe:
    """Puts the stages' times into Ray's own metrics."""
    from ray.util.metrics import Histogram

    metric = METRICS["actor_stage_seconds"]
    histogram = Histogram(
        PREFIX + metric.name,
        metric.help,
        boundaries=list(metric.buckets),
        tag_keys=tuple(metric.labels),
    )

    def observe(stage: str, seconds: float) -> None:
        histogram.observe(seconds, tags={"stage": stage})

    return observe
