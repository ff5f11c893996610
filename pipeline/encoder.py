"""The encode stage: one actor that holds the text encoder, and nothing else of the model.

    optimize(attempt) ──embed(texts)──▶ waiting ──batch──▶ encoder ──▶ _embeddings/<name>
            ▲                                                                │
            └────────────────────────── reads the entry ◀────────────────────┘

An optimisation actor asks for the texts of each attempt it is sent, which is a little before it has
a slot for it: so the window ahead is its lookahead, and what waits together is embedded together.
The text encoder may be larger than the U-Net and never shares a GPU with it: it computes on a CPU,
where a prompt takes seconds and its optimisation many minutes. This file knows no ray.
"""

import asyncio
import os
from collections.abc import Sequence

from pipeline.embeddings import entry_name
from pipeline.engine_port import EngineSpec, TextEngine, TextFactory
from pipeline.seals import seal, unseal
from pipeline.store import Store

BATCH = 8
"""Prompts embedded together, at most."""


class TextActor:
    """Embeds the texts of prompts into the store. A call may be repeated: an entry that is there
    and sound is not made again."""

    def __init__(self, factory: TextFactory, spec: EngineSpec, store: Store) -> None:
        self._factory = factory
        self._spec = spec
        self._store = store
        self._engine: TextEngine | None = None
        self._loading = asyncio.Lock()
        self._encoding = asyncio.Lock()
        self._waiting: dict[str, tuple[tuple[str, ...], asyncio.Future[None]]] = {}

    async def load(self) -> int:
        """Loads the text encoder, at the first call; answers with the process's id."""
        async with self._loading:
            if self._engine is None:
                self._engine = await asyncio.to_thread(self._factory, self._spec)
        return os.getpid()

    async def embed(self, texts: Sequence[str]) -> None:
        """Makes sure that the entry of these texts is there and sound."""
        await self.load()
        name = entry_name(self._spec.guidance_digest, texts)
        if name not in self._waiting:
            self._waiting[name] = tuple(texts), asyncio.get_running_loop().create_future()
        mine = self._waiting[name][1]
        async with self._encoding:
            # Whoever comes first embeds for those who wait behind.
            if not mine.done():
                await self._embed_waiting(name)
        await mine

    async def _embed_waiting(self, name: str) -> None:
        """Embeds a batch: this entry, and what else waits."""
        names = [name, *(other for other in self._waiting if other != name)][:BATCH]
        batch = {each: self._waiting.pop(each) for each in names}
        try:
            await asyncio.to_thread(self._make, {n: texts for n, (texts, _) in batch.items()})
        except Exception as error:
            for _, future in batch.values():
                future.set_exception(error)
                # Taken note of, even if nobody waits any more.
                future.exception()
        else:
            for _, future in batch.values():
                future.set_result(None)

    def _make(self, batch: dict[str, tuple[str, ...]]) -> None:
        assert self._engine is not None
        missing = {
            name: texts
            for name, texts in batch.items()
            if unseal(self._store.read_embedding(name)) is None
        }
        if not missing:
            return
        found = self._engine.encode(list(missing.values()))
        for name, payload in zip(missing, found, strict=True):
            self._store.write_embedding(name, seal(payload))
