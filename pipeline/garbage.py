"""What nobody needs any more, and its removal. What is listed here, and nothing else, is deleted:

    one-asset files     of assets in the newest snapshot, whose packed file is there and whole, and
                        that a snapshot has held for longer than the grace
    packed files        that only older snapshots name, see below; that no snapshot ever named,
                        after a day (a compactor publishes its files within half a day)
    snapshots           older than the newest one that is older than the grace: who read them was
                        told of a newer one for as long as that; and indices that none names
    checkpoints         of assets that are committed or given up, and after a month of any
    embeddings, temporaries, probes     older than the grace, left by runs that were killed

The grace is for readers, and for clocks that differ. While a run is open nothing is deleted: the
collector holds the output's lease, as a run does. It may be killed anywhere and begun again: each
step leaves the dataset whole.
"""

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

import numpy as np

from pipeline.assets import asset_name
from pipeline.errors import RunError
from pipeline.lease import Lease, LeaseHeld
from pipeline.records import new_run_id
from pipeline.snapshots import DIRECTORY, Snapshot, snapshot_name, to_hex
from pipeline.store import Store

_LOG = logging.getLogger(__name__)
_ORPHAN_SECONDS = 24 * 3600.0
_ABANDONED_SECONDS = 30 * 24 * 3600.0
_PACKED_FILE = re.compile(r"[0-9a-f]{32}\.parquet")
_INDEX_FILE = re.compile(r"\d{8}\.[0-9a-f]{16}\.ids\.parquet")
_CHECKPOINT = re.compile(r"([0-9a-f]{32})\.sealed")
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
    """Delete garbage; with `is_dry` only tell what there is. RunError while a run is open."""
    counts: dict[str, int] = {}
    num_bytes: dict[str, int] = {}

    def take(garbage: Garbage) -> Garbage:
        if not is_dry:
            store.objects.remove(garbage.name)
        return garbage

    with ExitStack() as stack:
        if not is_dry:
            stack.callback(_claim(store).release)
        for garbage in store.objects.map(take, find(store, grace_seconds, clock())):
            counts[garbage.kind] = counts.get(garbage.kind, 0) + 1
            num_bytes[garbage.kind] = num_bytes.get(garbage.kind, 0) + garbage.num_bytes
        if not is_dry:
            for directory in store.objects.names("packed"):
                store.objects.remove_directory(f"packed/{directory}")
    return Collected(counts=counts, num_bytes=num_bytes)


def find(store: Store, grace_seconds: float, now: float) -> Iterator[Garbage]:
    """Everything that may be deleted at the moment `now` (seconds since 1970)."""
    snapshots = _Snapshots.of(store, before=now - grace_seconds)
    yield from _one_asset_files(store, snapshots)
    yield from _packed_files(store, snapshots, now - max(grace_seconds, _ORPHAN_SECONDS))
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


def _claim(store: Store) -> Lease:
    try:
        return Lease.acquire(store.objects, holder=f"gc-{new_run_id()}", share=False)
    except LeaseHeld as error:
        raise RunError(
            f"{error.run_id} on {error.host} is at work in {store.url}: nothing is removed before "
            "it has ended"
        ) from error


def _one_asset_files(store: Store, snapshots: _Snapshots) -> Iterator[Garbage]:
    """One-asset files that an old snapshot and the newest hold, in packed files that are whole."""
    if snapshots.is_young:
        return
    old, newest = snapshots.standing[0], snapshots.standing[-1]
    is_whole = np.array(_whole(store, newest), bool)
    for shard in store.shards():
        packed = store.assets.snapshots.shard_index(newest, shard.name)
        since = store.assets.snapshots.shard_index(old, shard.name)
        kept = is_whole[packed.files] & np.isin(packed.ids, since.ids)
        for asset_id in shard.loose.keys() & set(to_hex(packed.ids[kept])):
            size = shard.loose[asset_id]
            yield Garbage(kind="one-asset files", name=asset_name(asset_id), num_bytes=size)


def _whole(store: Store, snapshot: Snapshot) -> list[bool]:
    """Which files of a snapshot are there with the size that it says."""
    directories = sorted({file.directory for file in snapshot.files})
    listings = dict(
        zip(directories, store.objects.map(store.objects.sizes, directories), strict=True)
    )
    found = [
        listings[file.directory].get(file.name.rpartition("/")[2]) == file.bytes
        for file in snapshot.files
    ]
    for file, is_whole in zip(snapshot.files, found, strict=True):
        if not is_whole:
            _LOG.warning(
                "%s is not there as it was packed: restore it", store.objects.address(file.name)
            )
    return found


def _packed_files(store: Store, snapshots: _Snapshots, before: float) -> Iterator[Garbage]:
    standing = {file.name for snapshot in snapshots.standing for file in snapshot.files}
    passed = {file.name for snapshot in snapshots.passed for file in snapshot.files}
    for directory in store.objects.names("packed"):
        for base, entry in store.objects.entries(f"packed/{directory}").items():
            name = f"packed/{directory}/{base}"
            is_orphan = name in passed or entry.modified < before
            if _PACKED_FILE.fullmatch(base) and name not in standing and is_orphan:
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
    given_up = {failure.asset_id for failure in store.failures() if failure.quarantined}
    found = store.objects.entries("_checkpoints")
    checkpoints = [match for match in map(_CHECKPOINT.fullmatch, sorted(found)) if match]
    for shard, matches in groupby(checkpoints, key=lambda match: f"x{match[1][:2]}"):
        done = store.assets.shard(shard).asset_ids() | given_up
        for match in matches:
            entry = found[match[0]]
            if match[1] in done or entry.modified < before:
                name = f"_checkpoints/{match[0]}"
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
