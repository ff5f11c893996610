"""Embedded texts on their way from the encoder to the actors: what an entry is called and holds.

An entry lies under `_embeddings/` of the output while prompts of the run want it. Its name is a
digest of the model's weights and the texts, so that seeds of one prompt share it. Its bytes are
sealed: one that was cut short or changed is as good as none, and is made again.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from pipeline.actors.engine_port import EngineSpec, texts_asked
from pipeline.records import Prompt, Task
from pipeline.store import Store

_LOG = logging.getLogger(__name__)
_DELETERS = 4


def entry_name(guidance_digest: str, texts: Sequence[str]) -> str:
    """The name of the entry with these texts, embedded by these weights."""
    document = json.dumps([guidance_digest, *texts], ensure_ascii=False)
    return hashlib.sha256(document.encode()).hexdigest()[:32]


def entry_of(spec: EngineSpec, prompt: Prompt) -> str:
    """The name of a prompt's entry under an engine."""
    return entry_name(spec.guidance_digest, texts_asked(spec, prompt))


class Wanted:
    """Which entries the tasks under way want; the others are deleted.

    A later task with the same texts has them embedded again, so that a run remembers no more than
    what is under way. Deleting takes as long as the store does, and so does not hold the caller up.
    """

    def __init__(self, store: Store, spec: EngineSpec) -> None:
        self._store = store
        self._spec = spec
        self._names: dict[str, str] = {}
        """Entries by asset id."""
        self._counts: Counter[str] = Counter()
        self._deleting = ThreadPoolExecutor(_DELETERS, thread_name_prefix="delete")

    def ordered(self, task: Task) -> None:
        """A task was begun, or begun again."""
        if task.asset_id not in self._names:
            name = self._names[task.asset_id] = entry_of(self._spec, task.prompt)
            self._counts[name] += 1

    def settled(self, task: Task) -> None:
        """A task is over: its entry goes, unless another one under way has the same texts."""
        name = self._names.pop(task.asset_id)
        self._counts[name] -= 1
        if not self._counts[name]:
            del self._counts[name]
            self._deleting.submit(_forgiving, lambda: self._store.remove_embedding(name))

    def clear(self) -> None:
        """The run has made all it was to make: nothing is left."""
        self.close()
        _forgiving(self._store.remove_embeddings)

    def close(self) -> None:
        """Deletes no more; what is left goes at the end of a later run."""
        self._deleting.shutdown(wait=True, cancel_futures=True)


def _forgiving(remove: Callable[[], None]) -> None:
    """What cannot be deleted now is deleted by the next run's end; it harms nobody."""
    try:
        remove()
    except Exception as error:
        _LOG.warning("an embedded text was not deleted: %s", error)
