"""Packing: one-asset files become files of 256 to 512 MB, and a numbered snapshot says so.

    1. partition by partition, assets that the newest snapshot does not hold are written into new
       packed files, together with small packed files that they outgrow; nothing is replaced
    2. a snapshot is published that names them; nothing is deleted, so that readers who know an
       older state keep working (`dataset/garbage.py` deletes, when they have had time)
    3. the catalog is written anew

Steps 1 and 2 are repeated every half hour: a compactor that is killed, or than which another one is
quicker to publish, loses no more work than that, and its files that no snapshot names are garbage.
What is committed meanwhile is packed next time. Memory: 24 bytes an asset of the dataset, as much
for each new one, and some row groups (`dataset/packing.py`).

A packed file below half the largest size is rewritten when what joins it is at least a quarter of
it: so a partition has few small files, and an asset is rewritten few times.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from uuid import uuid4

import numpy as np
import pyarrow as pa

from pipeline.counts import counted
from pipeline.dataset import catalog, partitions
from pipeline.dataset.asset_names import asset_name
from pipeline.dataset.assets import Shard
from pipeline.dataset.draft import Draft, Superseded
from pipeline.dataset.packing import DamagedPack, Gone, Left, Member, Pack, Packer
from pipeline.dataset.snapshots import PackedFile, Snapshot, to_bytes, to_hex
from pipeline.errors import InvalidStore, RunError, UserError
from pipeline.store import Store

LARGEST = 4 / 3
"""The largest packed file, in target sizes; one below half of it is small."""

_LOG = logging.getLogger(__name__)
_JOIN = 4
_MAX_TRIES = 10


@dataclass(frozen=True, kw_only=True)
class Compacted:
    """What a compaction did: assets newly packed, files written, the partitions that these lie in,
    and the files that could not be packed or merged. `snapshot` is the newest one, None if nothing
    is packed."""

    snapshot: Snapshot | None
    num_assets: int
    num_files: int
    num_partitions: int
    num_bytes: int
    left: tuple[Left, ...]


@dataclass(frozen=True, kw_only=True)
class _Group:
    """What is to be packed into one directory: one-asset files by id and size, sorted, and packed
    files that they outgrow."""

    directory: str
    ids: np.ndarray
    sizes: np.ndarray
    packs: tuple[PackedFile, ...] = ()


def compact(
    store: Store,
    *,
    target_bytes: int = 384_000_000,
    partition_by: str | None = None,
    publish_seconds: float = 1800.0,
    say: Callable[[str], None] = _LOG.info,
) -> Compacted:
    """Pack all assets that are not, publish, write the catalog.

    `partition_by` names a carried column; None goes on as the dataset is packed, at first by shard.
    UserError for a column that cannot partition, or another than before; RunError if other
    compactors are quicker each time.
    """
    for _ in range(_MAX_TRIES):
        compactor = _Compactor(store, partition_by, int(LARGEST * target_bytes), publish_seconds)
        try:
            result = compactor.run(say)
        except (Superseded, Gone):
            say("the dataset was packed by somebody else meanwhile: starting again from there")
            continue
        catalog.write(store)
        return result
    raise RunError(f"other compactions of {store.url} are quicker all the time")


class _Compactor:
    """One attempt, from one snapshot. Superseded, Gone: start again."""

    def __init__(
        self, store: Store, partition_by: str | None, largest: int, publish_seconds: float
    ) -> None:
        carried = store.carried_schema()
        newest = store.assets.snapshots.newest()
        self._store = store
        self._largest = largest
        self._publish_seconds = publish_seconds
        self._column = _partition(store.url, newest, partition_by, carried)
        self._draft = Draft(store.assets.snapshots, newest, self._column)
        self._packer = Packer(store.objects, carried, omit=self._column and self._column.name)
        self._files: dict[str, list[PackedFile]] = {}
        for file in self._draft.files:
            self._files.setdefault(file.directory, []).append(file)
        self._num_before = len(self._draft.index)
        self._published: list[Pack] = []
        self._left: dict[str, Left] = {}

    def run(self, say: Callable[[str], None]) -> Compacted:
        for group in self._loose_by_value() if self._column else self._loose_by_shard():
            for part in _bins(self._with_packs(group), self._largest):
                self._pack(part)
                if self._draft.age_seconds() >= self._publish_seconds:
                    self._publish(say)
        self._publish(say)
        files = [pack.file for pack in self._published if pack.file]
        return Compacted(
            snapshot=self._draft.base,
            num_assets=len(self._draft.index) - self._num_before,
            num_files=len(files),
            num_partitions=len({file.directory for file in files}),
            num_bytes=sum(file.bytes for file in files),
            left=tuple(self._left.values()),
        )

    def _loose_by_shard(self) -> Iterator[_Group]:
        """What is not packed, one directory for each shard; one shard in memory."""
        for shard in self._store.shards():
            ids, sizes = self._not_packed(shard)
            yield _Group(directory=partitions.shard_directory(shard.name), ids=ids, sizes=sizes)

    def _loose_by_value(self) -> Iterator[_Group]:
        """What is not packed, one directory for each value of a column, which is read from each."""
        column = self._column
        assert column is not None
        found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        for shard in self._store.shards():
            ids, sizes = self._not_packed(shard)
            places = self._directories(column, to_hex(ids))
            for directory in sorted(set(places) - {""}):
                chosen = places == directory
                found.setdefault(directory, []).append((ids[chosen], sizes[chosen]))
            if len(found) > partitions.MAX_VALUES:
                raise UserError(
                    f"cannot partition by {column.name!r}: expected at most "
                    f"{partitions.MAX_VALUES:,} different values, got more"
                )
        for directory in sorted(found):
            ids, sizes = map(np.concatenate, zip(*found.pop(directory), strict=True))
            yield _Group(directory=directory, ids=ids, sizes=sizes)

    def _not_packed(self, shard: Shard) -> tuple[np.ndarray, np.ndarray]:
        """Ids, sorted, and sizes of the one-asset files that the draft's base does not hold."""
        names = sorted(shard.loose)
        ids = to_bytes(names)
        is_new = ~np.isin(ids, self._draft.index.of_shard(shard.name).ids)
        sizes = np.array([shard.loose[name] for name in names], np.int64)
        return ids[is_new], sizes[is_new]

    def _directories(self, column: pa.Field, asset_ids: list[str]) -> np.ndarray:
        """The directory of each asset, "" for one that cannot be read."""

        def find(asset_id: str) -> str | Left:
            try:
                table = self._store.assets.read_loose(asset_id, [column.name])
                values = table[column.name].to_pylist()
            except FileNotFoundError as error:
                raise Gone(asset_id) from error
            except (InvalidStore, KeyError) as error:
                return Left(name=asset_name(asset_id), reason=str(error))
            return partitions.value_directory(column.name, values[0])

        places: list[str] = []
        for found in self._store.objects.map(find, asset_ids):
            if isinstance(found, Left):
                self._left[found.name] = found
            places.append("" if isinstance(found, Left) else found)
        return np.array(places, str)

    def _with_packs(self, group: _Group) -> _Group:
        """With the smaller packed files that are worth rewriting, at most half the largest size."""
        packs: list[PackedFile] = []
        joined, merged = int(group.sizes.sum()), 0
        for file in sorted(self._files.get(group.directory, ()), key=lambda file: file.bytes):
            if file.bytes > _JOIN * joined or merged + file.bytes > self._largest // 2:
                break
            packs.append(file)
            joined, merged = joined + file.bytes, merged + file.bytes
        return replace(group, packs=tuple(packs))

    def _pack(self, group: _Group) -> None:
        """Write one packed file; packed files that cannot be read stay as they are."""
        name = f"{group.directory}/{uuid4().hex}.parquet"
        loose = [
            Member(asset_id=x, name=asset_name(x), row_group=None, num_bytes=int(size))
            for x, size in zip(to_hex(group.ids), group.sizes, strict=True)
        ]
        packs = group.packs
        try:
            merged = [member for file in packs for member in self._draft.members(file)]
            pack = self._packer.write(name, [*merged, *loose])
        except DamagedPack as error:
            self._left[error.name] = Left(name=error.name, reason=str(error))
            packs = ()
            pack = self._packer.write(name, loose)
        self._left |= {left.name: left for left in pack.left}
        self._draft.replace(packs, pack)

    def _publish(self, say: Callable[[str], None]) -> None:
        """Publish what there is; what is too late is deleted, for nobody else knows of it."""
        packs = [pack for pack in self._draft.added if pack.file]
        if not packs:
            return
        try:
            snapshot = self._draft.publish()
        except Superseded:
            for pack in packs:
                assert pack.file is not None
                self._store.objects.remove(pack.file.name)
            raise
        self._published += packs
        say(f"snapshot {snapshot.number}: {snapshot.num_assets:,} assets are packed")


def render(compacted: Compacted) -> str:
    """What was done, and a line for each file that was left."""
    snapshot = compacted.snapshot
    state = "nothing is packed"
    if snapshot is not None:
        state = f"snapshot {snapshot.number} holds {counted(snapshot.num_assets, 'asset')}"
    lines = [f"{_packed(compacted)}; {state}"]
    lines += [f"  left {left.name}: {left.reason}" for left in compacted.left]
    return "\n".join(lines)


def _packed(done: Compacted) -> str:
    """What was packed and where: no file holds assets of two partitions, so that few assets may
    make as many files."""
    if done.snapshot is None or not done.num_files:
        return "nothing was packed" if done.left else "nothing new to pack"
    column = done.snapshot.partition_by
    place = counted(done.num_partitions, "value" if column else "shard")
    place += f" of {column!r}" if column else ""
    has_one_each = done.num_files == done.num_partitions > 1
    files = "a file each" if has_one_each else counted(done.num_files, "file")
    size = f"{done.num_bytes / 1e6:,.1f} MB"
    return f"packed {counted(done.num_assets, 'asset')} in {place}, {files} ({size})"


def _partition(
    url: str, newest: Snapshot | None, partition_by: str | None, carried: pa.Schema
) -> pa.Field | None:
    """The column to partition by. UserError if it cannot be, or was another."""
    if newest is not None and partition_by not in (None, newest.partition_by):
        before = repr(newest.partition_by) if newest.partition_by else "shard"
        raise UserError(
            f"{url} is packed by {before}: expected the same again, got {partition_by!r}; leave "
            "--partition-by out"
        )
    if newest is not None:
        return newest.partition
    return None if partition_by is None else partitions.find_column(partition_by, carried)


def _bins(group: _Group, largest: int) -> Iterator[_Group]:
    """Equal parts of a group, each at most about `largest` bytes; packed files are in the first."""
    if not len(group.ids):
        return
    merged = sum(file.bytes for file in group.packs)
    ends = merged + np.cumsum(group.sizes)
    total = max(int(ends[-1]), 1)  # a damaged file may be empty
    count = -(-total // largest)
    middles = ends - group.sizes / 2
    places = np.minimum(middles * count // total, count - 1).astype(int)
    for number in range(count):
        chosen = places == number
        yield replace(
            group,
            ids=group.ids[chosen],
            sizes=group.sizes[chosen],
            packs=group.packs if number == 0 else (),
        )
