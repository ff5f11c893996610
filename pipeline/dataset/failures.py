"""Failed attempts, and pardons that let assets in again.

    _failures/<asset_id>-<attempt_id>.json  one failed attempt, written once, never changed
    _pardons/<stamp>-<uuid>.json            attempt_ids of failures that count no longer

A pardon names the attempts that it forgives, so that no clock decides: a failure that was written
meanwhile still counts. What was forgiven stays as history. A damaged or foreign file is skipped
with a warning; an asset may then be tried once more than its policy allows.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar
from uuid import uuid4

from pipeline.dataset import documents
from pipeline.errors import InvalidStore
from pipeline.records import Document, Failure, now
from pipeline.storage.objects import Objects

_LOG = logging.getLogger(__name__)
_D = TypeVar("_D", bound=Document)


@dataclass(frozen=True, kw_only=True)
class Pardon(Document):
    """`kind` is the kind of failure that was asked for, None for all."""

    kind: str | None
    attempt_ids: tuple[str, ...]
    created_at: str = field(default_factory=now)


def given_up(failures: Iterable[Failure]) -> dict[str, str]:
    """The assets that are given up, and for which kind of failure. One may have been committed
    since, by an attempt that was under way: then it is not given up."""
    return {x.asset_id: x.error_kind for x in failures if x.quarantined}


class Failures:
    """The failures of one dataset. Picklable."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def write(self, failure: Failure) -> None:
        """Keep a failed attempt."""
        name = f"_failures/{failure.asset_id}-{failure.attempt_id}.json"
        documents.write(self._objects, name, failure.to_dict(), create=False)

    def standing(self) -> Iterator[Failure]:
        """Those that no pardon names, in no order: one read for each failure there ever was."""
        forgiven = self.pardoned()
        return (x for x in self._records("_failures", Failure) if x.attempt_id not in forgiven)

    def pardoned(self) -> set[str]:
        """The attempt ids of failures that count no longer."""
        return {x for pardon in self._records("_pardons", Pardon) for x in pardon.attempt_ids}

    def pardon(self, attempt_ids: Iterable[str], *, kind: str | None = None) -> None:
        """Let the failures of these attempts count no longer."""
        pardon = Pardon(kind=kind, attempt_ids=tuple(attempt_ids))
        name = f"_pardons/{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid4().hex}.json"
        documents.write(self._objects, name, pardon.to_dict(), create=True)

    def _records(self, directory: str, kind: type[_D]) -> Iterator[_D]:
        found = self._objects.names(directory)
        names = (f"{directory}/{name}" for name in found if name.endswith(".json"))
        for record in self._objects.map(lambda name: self._record(name, kind), names):
            if record is not None:
                yield record

    def _record(self, name: str, kind: type[_D]) -> _D | None:
        try:
            return documents.read_record(self._objects, name, kind)
        except InvalidStore as error:
            _LOG.warning("%s", error)
            return None
