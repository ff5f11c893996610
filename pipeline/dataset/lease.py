"""Who is making assets in an output, so that a second run does not make the same ones.

    _lease/<%08d>.json   {run_id, host, pid, expires_at, released}, created once, never changed

A holder adds a record every third of its time to live, with the next free number, and deletes its
own older ones; the newest record of each run says how it stands. A run holds the output while its
newest record is neither released nor expired, nor of a process of this machine that is dead: after
a crash the same command starts at once here, and within the time to live elsewhere.

Two that acquire at the same moment both see the other's record, for each looks again after it has
written its own: the one with the lower number stays.

The lease saves work, not assets: whoever holds it or not, a commit is exclusive. So one that cannot
be renewed is only spoken of. Clocks of two machines may differ by half the time to live.
"""

import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from pipeline.dataset import documents
from pipeline.errors import InvalidStore
from pipeline.records import Document
from pipeline.storage import places
from pipeline.storage.objects import Objects

TTL_SECONDS = 60.0
_LEAVING_SECONDS = 3.0
_MOST_LOOKS = 10
_DIRECTORY = "_lease"
_NAME = re.compile(r"(\d{8})\.json")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LeaseRecord(Document):
    """How a run stands; `expires_at` is in seconds since 1970."""

    run_id: str
    host: str
    pid: int
    expires_at: float
    released: bool = False


_NOBODY = LeaseRecord(run_id="", host="", pid=0, expires_at=0.0, released=True)


class LeaseHeld(Exception):
    """Another run is making assets in this output."""

    def __init__(self, url: str, record: LeaseRecord, seconds: float) -> None:
        self.run_id, self.host, self.expires_at = record.run_id, record.host, record.expires_at
        super().__init__(
            f"run {record.run_id} (process {record.pid} on {record.host}) is making assets in "
            f"{url}: wait for its end, or give --share to work beside it on another part of the "
            "manifest (what both make is kept once, the other's work is wasted); if it is dead, "
            f"its claim ends in {max(0.0, seconds):.0f} s"
        )


class Lease:
    """A claim on an output, renewed by a thread of its own until `release`."""

    def __init__(
        self, objects: Objects, *, holder: str, ttl_seconds: float, clock: Callable[[], float]
    ) -> None:
        self._objects = objects
        self._holder = holder
        self._ttl_seconds = ttl_seconds
        self._clock = clock
        self._known: set[str] = set()
        """Other holders that have been spoken of."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    @classmethod
    def acquire(
        cls,
        objects: Objects,
        *,
        holder: str,
        share: bool,
        ttl_seconds: float = TTL_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Claims an output for the run `holder`. LeaseHeld if another run has it, unless `share`.

        Storage errors pass through.
        """
        lease = cls(objects, holder=holder, ttl_seconds=ttl_seconds, clock=clock)
        lease._meet(lease._others(), share=share)
        number = lease._write()
        try:
            earlier = {n: other for n, other in lease._others().items() if n < number}
            lease._meet(earlier, share=share)
        except LeaseHeld:
            lease._write(released=True)
            raise
        lease._thread.start()
        return lease

    def renew(self) -> None:
        """Claims the output for another time to live; a thread does it every third of that. What
        storage refuses is said, and tried again the next time."""
        try:
            self._write()
            others = self._others().values()
        except OSError as error:
            _LOG.warning("the claim on %s is not renewed: %s", self._url, places.reason(error))
            return
        for other in others:
            if other.run_id not in self._known:
                self._known.add(other.run_id)
                _LOG.warning(
                    "run %s (process %d on %s) makes assets in %s as well; what both make is "
                    "committed once",
                    *(other.run_id, other.pid, other.host, self._url),
                )

    def release(self) -> None:
        """Lets other runs have the output. What storage refuses is said; then the claim expires."""
        self._ended.set()
        self._thread.join(_LEAVING_SECONDS)
        self._objects = self._objects.within(_LEAVING_SECONDS)
        try:
            self._write(released=True)
        except OSError as error:
            _LOG.warning("the claim on %s is not given back: %s", self._url, places.reason(error))

    @property
    def _url(self) -> str:
        return self._objects.url

    def _keep(self) -> None:
        while not self._ended.wait(self._ttl_seconds / 3):
            self.renew()

    def _meet(self, others: Mapping[int, LeaseRecord], *, share: bool) -> None:
        for other in others.values():
            if not share:
                raise LeaseHeld(self._url, other, other.expires_at - self._clock())
            self._known.add(other.run_id)

    def _write(self, *, released: bool = False) -> int:
        """Adds a record and deletes those that it, or time, has made useless; its number."""
        record = LeaseRecord(
            run_id=self._holder,
            host=socket.gethostname(),
            pid=os.getpid(),
            expires_at=self._clock() + self._ttl_seconds,
            released=released,
        )
        while True:
            before = self._records()
            number = max(before, default=-1) + 1
            if documents.write(self._objects, _name(number), record.to_dict(), create=True):
                break
        standing = {n for n, other in _newest(before).items() if self._is_open(other)}
        for earlier in sorted(before):  # or an older record of a run would count for a moment
            if earlier not in standing or before[earlier].run_id == self._holder:
                self._objects.remove(_name(earlier))
        return number

    def _others(self) -> dict[int, LeaseRecord]:
        """The newest record, by its number, of each other run that holds the output."""
        return {
            number: record
            for number, record in _newest(self._records()).items()
            if record.run_id != self._holder and self._is_open(record)
        }

    def _is_open(self, record: LeaseRecord) -> bool:
        is_here = record.host == socket.gethostname()
        is_over = record.released or record.expires_at <= self._clock()
        return not is_over and not (is_here and not _is_alive(record.pid))

    def _records(self) -> dict[int, LeaseRecord]:
        """All records, by number. One that was replaced between listing and reading is followed to
        its successor, which was written before it went."""
        found: dict[int, LeaseRecord | None] = {}
        for _ in range(_MOST_LOOKS):
            names = map(_NAME.fullmatch, self._objects.names(_DIRECTORY))
            found = {int(match[1]): self._read(match[0]) for match in names if match}
            if None not in found.values():
                break
        return {number: record for number, record in found.items() if record is not None}

    def _read(self, name: str) -> LeaseRecord | None:
        """A record, None if it has gone; a damaged one is nobody's."""
        try:
            return documents.read_record(self._objects, f"{_DIRECTORY}/{name}", LeaseRecord)
        except InvalidStore:
            return _NOBODY


def _newest(records: Mapping[int, LeaseRecord]) -> dict[int, LeaseRecord]:
    """The newest record of each run, by its number."""
    numbers = {records[number].run_id: number for number in sorted(records)}
    return {number: records[number] for number in numbers.values()}


def _name(number: int) -> str:
    return f"{_DIRECTORY}/{number:08d}.json"


def _is_alive(pid: int) -> bool:
    """Whether a process of this machine runs; one of another user does."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
