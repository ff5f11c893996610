"""Embedded texts on their way from the encoder to the actors: what an entry is called and holds.

An entry lies under `_embeddings/` of the output while prompts of the run want it. Its name is a
digest of the model's weights and the texts, so that seeds of one prompt share it. Its bytes are
sealed: one that was cut short or changed is as good as none, and is made again.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from pipeline.engine_port import EngineSpec, texts_asked
from pipeline.records import Prompt, Task
from pipeline.store import Store

_LOG = logging.getLogger(__name__)
_SEAL_BYTES = hashlib.sha256().digest_size


def entry_name(guidance_digest: str, texts: Sequence[str]) -> str:
    """The name of the entry with these texts, embedded by these weights."""
    document = json.dumps([guidance_digest, *texts], ensure_ascii=False)
    return hashlib.sha256(document.encode()).hexdigest()[:32]


def entry_of(spec: EngineSpec, prompt: Prompt) -> str:
    """The name of a prompt's entry under an engine."""
    return entry_name(spec.guidance_digest, texts_asked(spec, prompt))


def seal(payload: bytes) -> bytes:
    """The bytes of an entry."""
    return hashlib.sha256(payload).digest() + payload


def unseal(data: bytes | None) -> bytes | None:
    """What was sealed; None where there is nothing, or something damaged."""
    if data is None or hashlib.sha256(data[_SEAL_BYTES:]).digest() != data[:_SEAL_BYTES]:
        return None
    return data[_SEAL_BYTES:]


class Wanted:
    """Which entries the tasks of a run still want; the others are deleted."""

    def __init__(self, store: Store, spec: EngineSpec, tasks: Iterable[Task]) -> None:
        self._store = store
        self._spec = spec
        self._counts = Counter(entry_of(spec, task.prompt) for task in tasks)

    def settled(self, task: Task) -> None:
        """A task is over: its entry goes, unless another task has the same texts."""
        name = entry_of(self._spec, task.prompt)
        self._counts[name] -= 1
        if not self._counts[name]:
            _forgiving(lambda: self._store.remove_embedding(name))

    def close(self) -> None:
        """The run is over: nothing is left."""
        _forgiving(self._store.remove_embeddings)


def _forgiving(remove: Callable[[], None]) -> None:
    """What cannot be deleted now is deleted by the next run's end; it harms nobody."""
    try:
        remove()
    except Exception as error:
        _LOG.warning("an embedded text was not deleted: %s", error)
