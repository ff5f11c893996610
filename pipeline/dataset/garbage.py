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
"""

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

import numpy as np

from pipeline.dataset.asset_names import asset_name, shard_of
from pipeline.dataset.failures import given_up
from pipeline.dataset.lease import Lease, LeaseHeld
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


@dataclass(frozen=True, kw_only=True)
class Garbage:
    """An object that may be deleted."""

    kind: str
    name: str
    num_bytes: int


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What was deleted, or would be: number and bytes by kind."""

    counts: Mapping[str, int]
    num_bytes: Mapping[str, int]


def collect(
    store: Store, *, grace_seconds: float, is_dry: bool, clock: Callable[[], float] = time.time
) -> Collected:
    """Delete garbage; with `is_dry` only tell what there is. A grace is two minutes at least.
    RunError while a run is open."""
    counts: dict[str, int] = {}
    num_bytes: dict[str, int] = {}

    def take(garbage: Garbage) -> Garbage:
        if not is_dry:
            store.objects.remove(garbage.name)
        return garbage

    with ExitStack() as stack:
        if not is_dry:
            stack.callback(_claim(store).release)
        found = find(store, max(grace_seconds, _LEAST_GRACE_SECONDS), clock())
        for garbage in store.objects.map(take, found):
            counts[garbage.kind] = counts.get(garbage.kind, 0) + 1
            num_bytes[garbage.kind] = num_bytes.get(garbage.kind, 0) + garbage.num_bytes
        if not is_dry:
            for directory in store.objects.names("packed"):
                store.objects.remove_directory(f"packed/{directory}")
    return Collected(counts=counts, num_bytes=num_bytes)


def find(store: Store, grace_seconds: float, now: float) -> Iterator[Garbage]:
    """Everything that may be deleted at the moment `now` (seconds since 1970)."""
    snapshots, packs = _Snapshots.of(store, before=now - grace_seconds), _Packs(store)
    yield from _one_asset_files(store, snapshots, packs)
    yield from _packed_files(store, snapshots, packs, now - max(grace_seconds, _ORPHAN_SECONDS))
    yield from _old_snapshots(store, snapshots, now - max(grace_seconds, _ORPHAN_SECONDS))
    yield from _checkpoints(store, now - _ABANDONED_SECONDS)
    yield from _left_by_runs(store, grace_seconds, now)


def render(collected: Collected, *, is_dry: bool) -> str:
    """One line for each kind."""
    verb = "would remove" if is_dry else "removed"
    return (
        "\n".join(
            f"{verb} {count:,} {kind} ({collected.num_bytes[kind] / 1e6:,.1f} MB)"
            for kind, count in collected.counts.items()
        )
        or f"{verb} nothing"
    )


@dataclass(frozen=True, kw_only=True)
class _Snapshots:
    """All snapshots by age: `passed` are those that no reader needs, `standing` the others, whose
    first is old enough for what it holds to be removed elsewhere (unless `is_young`)."""

    passed: tuple[Snapshot, ...]
    standing: tuple[Snapshot, ...]
    is_young: bool

    @classmethod
    def of(cls, store: Store, *, before: float) -> "_Snapshots":
        """The snapshots of a dataset; old is what was made before a moment."""
        known = store.assets.snapshots
        found = [x for x in map(known.read, known.numbers()) if x is not None]
        old = [x.number for x in found if datetime.fromisoformat(x.created_at).timestamp() < before]
        first = max(old, default=0)
        return cls(
            passed=tuple(x for x in found if x.number < first),
            standing=tuple(x for x in found if x.number >= first),
            is_young=not old,
        )


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
    """One-asset files that an old snapshot and the newest hold, in packed files that are whole."""
    if snapshots.is_young:
        return
    old, newest = snapshots.standing[0], snapshots.standing[-1]
    for shard in store.shards():
        packed = store.assets.snapshots.shard_index(newest, shard.name)
        since = store.assets.snapshots.shard_index(old, shard.name)
        is_twice = np.isin(packed.ids, to_bytes(shard.loose)) & np.isin(packed.ids, since.ids)
        numbers, places = np.unique(packed.files[is_twice], return_inverse=True)
        is_whole = np.array(packs.are_whole(newest.files[number] for number in numbers), bool)
        for asset_id in to_hex(packed.ids[is_twice][is_whole[places]]):
            size = shard.loose[asset_id]
            yield Garbage(kind="one-asset files", name=asset_name(asset_id), num_bytes=size)


def _packed_files(
    store: Store, snapshots: _Snapshots, packs: _Packs, before: float
) -> Iterator[Garbage]:
    """Packed files that no snapshot needs; those that one has named go once their directory's
    newer files, which hold the same assets, are whole."""
    standing = {file.name for snapshot in snapshots.standing for file in snapshot.files}
    passed = {file.name for snapshot in snapshots.passed for file in snapshot.files}
    newest = snapshots.standing[-1].files if snapshots.standing else ()
    for directory in store.objects.names("packed"):
        newer = [file for file in newest if file.directory == f"packed/{directory}"]
        newer = [file for file in newer if file.name not in passed]
        for base, entry in store.objects.entries(f"packed/{directory}").items():
            name = f"packed/{directory}/{base}"
            if not _PACKED_FILE.fullmatch(base) or name in standing:
                continue
            if all(packs.are_whole(newer)) if name in passed else entry.modified < before:
                yield Garbage(kind="packed files", name=name, num_bytes=entry.num_bytes)


def _old_snapshots(store: Store, snapshots: _Snapshots, before: float) -> Iterator[Garbage]:
    """Each snapshot before its index: an index may lie there without, but not the other way."""
    entries = store.objects.entries(DIRECTORY)
    passed = [snapshot_name(snapshot.number) for snapshot in snapshots.passed]
    passed += [snapshot.index for snapshot in snapshots.passed]
    standing = {snapshot.index for snapshot in snapshots.standing}
    orphans = [
        f"{DIRECTORY}/{base}"
        for base, entry in entries.items()
        if _INDEX_FILE.fullmatch(base) and entry.modified < before
    ]
    for name in dict.fromkeys([*passed, *orphans]):
        entry = entries.get(name.rpartition("/")[2])
        if entry is not None and name not in standing:
            yield Garbage(kind="snapshots and indices", name=name, num_bytes=entry.num_bytes)


def _checkpoints(store: Store, before: float) -> Iterator[Garbage]:
    hopeless = set(given_up(store.failures()))
    found = store.checkpoints()
    for shard, asset_ids in groupby(sorted(found), key=shard_of):
        done = store.assets.shard(shard).asset_ids() | hopeless
        for asset_id in asset_ids:
            entry = found[asset_id]
            if asset_id in done or entry.modified < before:
                name = checkpoint_name(asset_id)
                yield Garbage(kind="checkpoints", name=name, num_bytes=entry.num_bytes)


def _left_by_runs(store: Store, grace_seconds: float, now: float) -> Iterator[Garbage]:
    """What killed runs left. Temporaries are judged by this machine's clock."""
    for name, num_bytes in store.objects.stale(grace_seconds):
        yield Garbage(kind="temporaries", name=name, num_bytes=num_bytes)
    for base, entry in store.objects.entries("_embeddings").items():
        if entry.modified < now - grace_seconds:
            name = f"_embeddings/{base}"
            yield Garbage(kind="embeddings", name=name, num_bytes=entry.num_bytes)
    for base, entry in store.objects.entries("").items():
        if _PROBE.fullmatch(base) and entry.modified < now - grace_seconds:
            yield Garbage(kind="probes", name=base, num_bytes=entry.num_bytes)
