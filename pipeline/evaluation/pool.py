"""The pool: the captions among which an asset must find its own.

By default the dataset's own prompts, each once; of more than `MOST` those whose sha256 is lowest,
which is a random sample that does not depend on order and hardly changes as a dataset grows. Such a
pool that is full is kept (`settled`), so that what was scored in it stays comparable.
"""

import hashlib
import heapq
from collections.abc import Iterable

from pipeline import manifest
from pipeline.dataset.scores import Metric
from pipeline.errors import UserError
from pipeline.records import Prompt

MOST = 1024


class Sample:
    """Prompts that are added, each once; holds at most `MOST`."""

    def __init__(self) -> None:
        self._found: dict[int, str] = {}
        self._largest: list[int] = []  # a heap of negatives

    def add(self, prompts: Iterable[str]) -> None:
        """Some more."""
        for prompt in prompts:
            key = int.from_bytes(hashlib.sha256(prompt.encode()).digest(), "big")
            if key in self._found or (len(self._found) == MOST and key > -self._largest[0]):
                continue
            self._found[key] = prompt
            heapq.heappush(self._largest, -key)
            if len(self._found) > MOST:
                del self._found[-heapq.heappop(self._largest)]

    def captions(self) -> list[str]:
        """The prompts, sorted."""
        return sorted(self._found.values())


def read(url: str) -> list[str]:
    """The prompts of a table, each once. UserError as `manifest.read`, for a row that it rejects if
    not as a repetition, and for more than `MOST`."""
    found: dict[str, None] = {}
    for row in manifest.read(url):
        if isinstance(row, Prompt):
            found[row.prompt] = None
        elif not row.reason.startswith("repeats"):
            raise UserError(f"--captions {url}, row {row.row}: {row.reason}")
    if len(found) > MOST:
        raise UserError(f"--captions {url}: expected at most {MOST:,} prompts, got {len(found):,}")
    return sorted(found)


def settled(wanted: Metric, known: Iterable[Metric]) -> list[str]:
    """The captions to score in: those of the newest metric that differs in nothing but its pool of
    the dataset's prompts, if they are as many as can be; else the wanted ones."""
    for metric in known:
        if metric.is_given:
            continue
        if metric.looks_digest == wanted.looks_digest and metric.protocol == wanted.protocol:
            full = len(metric.captions) == MOST == len(wanted.captions)
            return metric.captions if full else wanted.captions
    return wanted.captions
