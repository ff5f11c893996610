"""What nobody needs any more, and its removal. What is listed here, and nothing else, is deleted:

    one-asset files     of assets in the newest snapshot, whose packed file is what was packed, and
                        that a snapshot has held for longer than the grace
    packed files        that only older snapshots name, see below, where what replaces them is what
                        was packed; that no snapshot ever named, after a day (a compactor publishes
                        its files within half a day)
    snapshots           older than the newest one that is older than the grace: who read them was
                        told of a newer one for as long as that; and indices that none names
    checkpoints         of assets that are committed or given up, and after a month of any
    embeddings, temporaries, probes     older than the grace, left by runs that were killed

A copy is deleted only after the packed file that replaces it was read from end to end and has its
digest: once for each such file and collection, and not again when there is nothing left to delete.

The grace is for readers, and for clocks that differ; it is two minutes at least, for a commit may
look at a snapshot that was the newest a minute ago (`pipeline/store.py`). While a run is open
nothing is deleted: the collector holds the output's lease, as a run does. It may be killed anywhere
and begun again: each step leaves the dataset whole.

What waits is told with the moment from which all of it may go, if nothing is written meanwhile and
the packed files that hold it are whole then.
"""

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

import numpy as np

from pipeline.dataset.asset_names import asset_name, shard_of
from pipeline.dataset.failures import given_up
from pipeline.dataset.lease import Lease, LeaseHeld
from pipeline.dataset.piles import AT_ONCE, Collected, Garbage, Pile
from pipeline.dataset.snapshots import (
    DIRECTORY,
    RECENT_SECONDS,
    PackedFile,
    Snapshot,
    snapshot_name,
    to_bytes,
    to_hex,
)
from pipeline.errors import RunError
from pipeline.records import new_run_id
from pipeline.store import Store, checkpoint_name

_LOG = logging.getLogger(__name__)
_LEAST_GRACE_SECONDS = 2 * RECENT_SECONDS
_ORPHAN_SECONDS = 24 * 3600.0
_ABANDONED_SECONDS = 30 * 24 * 3600.0
_PACKED_FILE = re.compile(r"[0-9a-f]{32}\.parquet")
_INDEX_FILE = re.compile(r"\d{8}\.[0-9a-f]{16}\.ids\.parquet")
_PROBE = re.compile(r"_probe-[0-9a-f]{32}")


def collect(
    store: Store, *, grace_seconds: float, is_dry: bool, clock: Callable[[], float] = time.time
) -> Collected:
    """Delete garbage that is due; with `is_dry` only tell what there is. A grace is two minutes at
    least. RunError while a run is open."""
    now = clock()
    removed: dict[str, Pile] = {}
    waiting: dict[str, Pile] = {}

    def take(garbage: Garbage) -> Garbage:
        if not is_dry and garbage.due < now:
            store.objects.remove(garbage.name)
        return garbage

    with ExitStack() as stack:
        if not is_dry:
            stack.callback(_claim(store).release)
        found = find(store, max(grace_seconds, _LEAST_GRACE_SECONDS), now)
        for garbage in store.objects.map(take, found):
            piles = removed if garbage.due < now else waiting
            piles[garbage.kind] = piles.get(garbage.kind, Pile()).with_one(garbage)
        if not is_dry:
            for directory in store.objects.names("packed"):
                store.objects.remove_directory(f"packed/{directory}")
    return Collected(removed=removed, waiting=waiting)


def find(store: Store, grace_seconds: float, now: float) -> Iterator[Garbage]:
    """Everything that may be deleted, at the moment `now` (seconds since 1970) or later."""
    snapshots, packs = _Snapshots.of(store, grace_seconds, now), _Packs(store)
    orphan_seconds = max(grace_seconds, _ORPHAN_SECONDS)
    yield from _one_asset_files(store, snapshots, packs)
    yield from _packed_files(store, snapshots, packs, orphan_seconds)
    yield from _old_snapshots(store, snapshots, orphan_seconds)
    yield from _checkpoints(store)
    yield from _left_by_runs(store, grace_seconds)


@dataclass(frozen=True, kw_only=True)
class _Snapshots:
    """All snapshots by age: `passed` are those that no reader needs, `standing` the others, whose
    first is old enough for what it holds to be removed elsewhere (unless `is_young`), and whose
    last alone is needed after the moment `due`."""

    passed: tuple[Snapshot, ...]
    standing: tuple[Snapshot, ...]
    is_young: bool
    due: float

    @classmethod
    def of(cls, store: Store, grace_seconds: float, now: float) -> "_Snapshots":
        """The snapshots of a dataset; old is what is older than the grace."""
        known = store.assets.snapshots
        found = [x for x in map(known.read, known.numbers()) if x is not None]
        dues = [datetime.fromisoformat(x.created_at).timestamp() + grace_seconds for x in found]
        old = [x.number for x, due in zip(found, dues, strict=True) if due < now]
        first = max(old, default=0)
        return cls(
            passed=tuple(x for x in found if x.number < first),
            standing=tuple(x for x in found if x.number >= first),
            is_young=not old,
            due=dues[-1] if dues else AT_ONCE,
        )

    @property
    def passing(self) -> tuple[Snapshot, ...]:
        """Those that stand until `due`."""
        return self.standing[:-1]


class _Packs:
    """Which packed files hold the bytes that were packed; each is read once, when asked for."""

    def __init__(self, store: Store) -> None:
        self._objects = store.objects
        self._verdicts: dict[PackedFile, bool] = {}

    def are_whole(self, files: Iterable[PackedFile]) -> list[bool]:
        """Whether each of these files is; one that is not is named."""
        files = list(files)
        new = [file for file in dict.fromkeys(files) if file not in self._verdicts]
        self._verdicts.update(zip(new, self._objects.map(self._is_whole, new), strict=True))
        return [self._verdicts[file] for file in files]

    def _is_whole(self, file: PackedFile) -> bool:
        is_whole = self._objects.sha256(file.name) == file.sha256
        if not is_whole:
            address = self._objects.address(file.name)
            _LOG.warning("%s is not there as it was packed: restore it", address)
        return is_whole


def _claim(store: Store) -> Lease:
    try:
        return Lease.acquire(store.objects, holder=f"gc-{new_run_id()}", share=False)
    except LeaseHeld as error:
        raise RunError(
            f"{error.run_id} on {error.host} is at work in {store.url}: nothing is removed before "
            "it has ended"
        ) from error


def _one_asset_files(store: Store, snapshots: _Snapshots, packs: _Packs) -> Iterator[Garbage]:
    """One-asset files that the newest snapshot holds. At once go those that an old one holds as
    well, if their packed files are whole."""
    if not snapshots.standing:
        return
    old, newest = snapshots.standing[0], snapshots.standing[-1]
    for shard in store.shards():
        packed = store.assets.snapshots.shard_index(newest, shard.name)
        is_twice = np.isin(packed.ids, to_bytes(shard.loose))
        is_due = is_twice & (not snapshots.is_young)
        if old is not newest and is_due.any():
            since = store.assets.snapshots.shard_index(old, shard.name)
            is_due &= np.isin(packed.ids, since.ids)
        numbers, places = np.unique(packed.files[is_due], return_inverse=True)
        is_whole = np.array(packs.are_whole(newest.files[number] for number in numbers), bool)
        for ids, due in (
            (packed.ids[is_due][is_whole[places]], AT_ONCE),
            (packed.ids[is_twice & ~is_due], snapshots.due),
        ):
            for asset_id in to_hex(ids):
                yield Garbage(
                    kind="one-asset files",
                    name=asset_name(asset_id),
                    num_bytes=shard.loose[asset_id],
                    due=due,
                )


def _packed_files(
    store: Store, snapshots: _Snapshots, packs: _Packs, orphan_seconds: float
) -> Iterator[Garbage]:
    """Packed files that the newest snapshot does not name. Those that others have named go once
    their directory's newer files, which hold the same assets, are whole."""
    passing = {file.name for snapshot in snapshots.passing for file in snapshot.files}
    passed = {file.name for snapshot in snapshots.passed for file in snapshot.files}
    newest = snapshots.standing[-1].files if snapshots.standing else ()
    needed = {file.name for file in newest}
    for directory in store.objects.names("packed"):
        newer = [file for file in newest if file.directory == f"packed/{directory}"]
        newer = [file for file in newer if file.name not in passed]
        for base, entry in store.objects.entries(f"packed/{directory}").items():
            name = f"packed/{directory}/{base}"
            if not _PACKED_FILE.fullmatch(base) or name in needed:
                continue
            due = entry.modified + orphan_seconds
            if name in passing:
                due = snapshots.due
            elif name in passed:
                if not all(packs.are_whole(newer)):
                    continue
                due = AT_ONCE
            yield Garbage(kind="packed files", name=name, num_bytes=entry.num_bytes, due=due)


def _old_snapshots(store: Store, snapshots: _Snapshots, orphan_seconds: float) -> Iterator[Garbage]:
    """Each snapshot before its index: an index may lie there without, but not the other way."""
    entries = store.objects.entries(DIRECTORY)
    dues: dict[str, float] = {}
    for found, due in ((snapshots.passed, AT_ONCE), (snapshots.passing, snapshots.due)):
        dues |= {snapshot_name(snapshot.number): due for snapshot in found}
        dues |= {snapshot.index: due for snapshot in found}
    for base, entry in entries.items():
        if _INDEX_FILE.fullmatch(base):
            dues.setdefault(f"{DIRECTORY}/{base}", entry.modified + orphan_seconds)
    needed = {snapshot.index for snapshot in snapshots.standing[-1:]}
    for name, due in dues.items():
        entry = entries.get(name.rpartition("/")[2])
        if entry is not None and name not in needed:
            size = entry.num_bytes
            yield Garbage(kind="snapshots and indices", name=name, num_bytes=size, due=due)


def _checkpoints(store: Store) -> Iterator[Garbage]:
    hopeless = set(given_up(store.failures()))
    found = store.checkpoints()
    for shard, asset_ids in groupby(sorted(found), key=shard_of):
        done = store.assets.shard(shard).asset_ids() | hopeless
        for asset_id in asset_ids:
            entry = found[asset_id]
            due = AT_ONCE if asset_id in done else entry.modified + _ABANDONED_SECONDS
            name = checkpoint_name(asset_id)
            yield Garbage(kind="checkpoints", name=name, num_bytes=entry.num_bytes, due=due)


def _left_by_runs(store: Store, grace_seconds: float) -> Iterator[Garbage]:
    """What killed runs left."""
    objects = store.objects
    embeddings = objects.entries("_embeddings").items()
    probes = objects.entries("").items()
    for kind, found in (
        ("temporaries", objects.temporaries()),
        ("embeddings", ((f"_embeddings/{base}", entry) for base, entry in embeddings)),
        ("probes", ((base, entry) for base, entry in probes if _PROBE.fullmatch(base))),
    ):
        for name, entry in found:
            due = entry.modified + grace_seconds
            yield Garbage(kind=kind, name=name, num_bytes=entry.num_bytes, due=due)
