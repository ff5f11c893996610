"""What an attempt needs before it can have a slot: its embedded texts, and a checkpoint if any.

    embed ─▶ TextActor ─▶ _embeddings/<name> ─▶ read ─▶ text

A text actor that is away and a store that refuses are no prompt's fault: what several tries cannot
mend fails the attempt with kind `encode`. Only a text that the encoder itself refuses is one's own.
"""

import asyncio
from typing import Any

from pipeline import retry
from pipeline.actors.checkpointing import read_checkpoint
from pipeline.actors.embeddings import entry_of
from pipeline.actors.engine_port import EngineSpec, texts_asked
from pipeline.actors.publisher import StageError
from pipeline.records import Attempt, Prompt
from pipeline.storage.persistence import persist_awaiting
from pipeline.storage.seals import unseal
from pipeline.store import Store


class Preparer:
    """Prepares attempts for one engine, with texts from one text actor or, where `encoder` is None,
    without: the engine embeds them itself."""

    def __init__(
        self,
        spec: EngineSpec,
        store: Store,
        encoder: Any,
        *,
        delays: tuple[float, ...] = retry.STORE_DELAYS_SECONDS,
    ) -> None:
        self._spec = spec
        self._store = store
        self._encoder = encoder
        self._delays = delays

    async def prepare(self, attempt: Attempt) -> tuple[bytes | None, bytes | None]:
        """The embedded texts and the checkpoint of an attempt, each where there is one. Raises
        StageError."""
        text = None if self._encoder is None else await self._embedded(attempt.task.prompt)
        return text, await asyncio.to_thread(read_checkpoint, self._store, attempt)

    async def _embedded(self, prompt: Prompt) -> bytes:
        seconds = self._spec.texts_seconds
        try:
            async with asyncio.timeout(seconds):
                answer = await persist_awaiting(lambda: self._asked(prompt), self._delays)
        except TimeoutError as error:
            reason = str(error) or f"its texts were not embedded within {seconds:.0f} s"
            raise StageError("encode", reason) from error
        except Exception as error:  # of Ray, of a storage client: they have no common family
            raise StageError("encode", _last_line(error)) from error
        if isinstance(answer, str):
            raise StageError("internal", answer)
        return answer

    async def _asked(self, prompt: Prompt) -> bytes | str:
        """The prompt's texts by way of the encoder, or what it has against them. A damaged entry is
        made again when it is asked again."""
        texts, name = texts_asked(self._spec, prompt), entry_of(self._spec, prompt)
        refusal: str | None = await self._encoder.embed.remote(texts)
        if refusal is not None:
            return refusal
        text = unseal(await asyncio.to_thread(self._store.read_embedding, name))
        if text is None:
            raise OSError(f"{self._store.url}/_embeddings/{name} is damaged or gone once written")
        return text


def _last_line(error: Exception) -> str:
    """What an error says in the end; those of Ray begin with a traceback."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1]
