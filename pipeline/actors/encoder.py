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
import time
from collections.abc import Mapping, Sequence

from pipeline import retry
from pipeline.actors.embeddings import entry_name
from pipeline.actors.engine_port import EngineSpec, TextEngine, TextFactory
from pipeline.storage.persistence import persist
from pipeline.storage.seals import seal, unseal
from pipeline.store import Store

BATCH = 8
"""Prompts embedded together, at most."""


class TextActor:
    """Embeds the texts of prompts into the store. A call may be repeated: an entry that is there
    and sound is not made again."""

    def __init__(
        self,
        factory: TextFactory,
        spec: EngineSpec,
        store: Store,
        *,
        delays: tuple[float, ...] = retry.STORE_DELAYS_SECONDS,
    ) -> None:
        self._factory = factory
        self._spec = spec
        self._store = store
        self._delays = delays
        self._engine: TextEngine | None = None
        self._loading = asyncio.Lock()
        self._encoding = asyncio.Lock()
        self._waiting: dict[str, tuple[tuple[str, ...], asyncio.Future[str | None]]] = {}
        self._began: float | None = None

    async def load(self) -> int:
        """Loads the text encoder, at the first call; answers with the process's id."""
        async with self._loading:
            if self._engine is None:
                self._engine = await asyncio.to_thread(self._factory, self._spec)
        return os.getpid()

    async def ping(self) -> float:
        """For how many seconds it has been at its current batch; 0 if it has none."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    async def embed(self, texts: Sequence[str]) -> str | None:
        """Makes sure that the entry of these texts is there and sound; what the encoder has against
        the texts, if it refuses them."""
        await self.load()
        name = entry_name(self._spec.guidance_digest, texts)
        if name not in self._waiting:
            self._waiting[name] = tuple(texts), asyncio.get_running_loop().create_future()
        mine = self._waiting[name][1]
        async with self._encoding:
            # Whoever comes first embeds for those who wait behind.
            if not mine.done():
                await self._embed_waiting(name)
        return await mine

    async def _embed_waiting(self, name: str) -> None:
        """Embeds a batch: this entry, and what else waits."""
        names = [name, *(other for other in self._waiting if other != name)][:BATCH]
        batch = {each: self._waiting.pop(each) for each in names}
        self._began = time.monotonic()
        try:
            texts = {n: texts for n, (texts, _) in batch.items()}
            refusals = await asyncio.to_thread(self._make, texts)
        except Exception as error:
            for _, future in batch.values():
                future.set_exception(error)
                # Taken note of, even if nobody waits any more.
                future.exception()
        else:
            for each, (_, future) in batch.items():
                future.set_result(refusals.get(each))
        finally:
            self._began = None

    def _make(self, batch: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
        """Writes the entries that are not there; what is refused, by entry."""
        missing = {name: texts for name, texts in batch.items() if not self._has(name)}
        refusals: dict[str, str] = {}
        for name, found in self._encoded(missing).items() if missing else ():
            if isinstance(found, str):
                refusals[name] = found
            else:
                self._write(name, seal(found))
        return refusals

    def _encoded(self, batch: Mapping[str, tuple[str, ...]]) -> dict[str, bytes | str]:
        """The texts embedded; of a text that the encoder refuses, what it says."""
        assert self._engine is not None
        try:
            return dict(zip(batch, self._engine.encode(list(batch.values())), strict=True))
        except Exception as error:
            if len(batch) == 1:
                if retry.classify(error) == "out_of_memory":
                    raise
                return dict.fromkeys(batch, f"{type(error).__name__}: {error}")
        # One may be to blame for all: each by itself.
        alone = [self._encoded({name: texts}) for name, texts in batch.items()]
        return {name: found for one in alone for name, found in one.items()}

    def _has(self, name: str) -> bool:
        data = persist(lambda: self._store.read_embedding(name), self._delays)
        return unseal(data) is not None

    def _write(self, name: str, data: bytes) -> None:
        persist(lambda: self._store.write_embedding(name, data), self._delays)
