"""The committed assets, wherever they lie: in one-asset files, in packed files, or in both.

    assets/shard=x<hh>/<asset_id>.parquet    one asset
    packed/<partition>/<name>.parquet        many; those count that the newest snapshot names

An asset that lies in both is one asset: what is packed was copied. Who needs all of them lists the
one-asset files first and asks for the newest snapshot then: what `gc` removed before the listing is
in the snapshot, for it removes only what a published one holds.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset import partitions
from pipeline.dataset.asset_names import SHARDS, asset_name, shard_of
from pipeline.dataset.asset_table import scalar_names
from pipeline.dataset.snapshots import Index, PackedFile, Snapshot, Snapshots
from pipeline.errors import InvalidStore
from pipeline.storage.damage import is_damage
from pipeline.storage.objects import Objects

Columns = list[str] | Callable[[pa.Schema], list[str]] | None
"""Columns by name, or by a choice among those of a file; None for the scalars."""

Unreadable = InvalidStore | FileNotFoundError
"""Why an asset cannot be read: its file is damaged, or not there."""

_SHARDS_AHEAD = 16
_GROUPS_AHEAD = 1024
_FILE = re.compile(r"([0-9a-f]{32})\.parquet")


@dataclass(frozen=True, kw_only=True)
class Shard:
    """The assets of one shard: sizes of the one-asset files by id, and what `snapshot` holds."""

    name: str
    loose: Mapping[str, int]
    packed: Index
    snapshot: Snapshot | None

    def asset_ids(self) -> set[str]:
        """The ids of all assets, in whatever file they lie."""
        return {*self.loose, *self.packed.asset_ids()}

    def file_of(self, asset_id: str) -> str:
        """The file of the dataset from which an asset is to be read."""
        place = self.packed.find(asset_id)
        if place is None or self.snapshot is None:
            return asset_name(asset_id)
        return self.snapshot.files[place[0]].name


@dataclass(frozen=True, kw_only=True)
class _RowGroup:
    """A row group of a packed file, and the column that its directory stands for."""

    file: PackedFile
    number: int
    partition: pa.Field | None


class Assets:
    """The assets of one dataset, for reading. Picklable."""

    def __init__(self, objects: Objects) -> None:
        self.snapshots = Snapshots(objects)
        self._objects = objects

    def committed(self) -> set[str]:
        """All ids: one listing for each shard that has one-asset files, and two more."""
        directories = [f"assets/shard={name}" for name in self._present()]
        listings = self._objects.map(self._objects.names, directories)
        found = {m[1] for names in listings for m in map(_FILE.fullmatch, names) if m}
        snapshot = self.snapshots.newest()
        if snapshot is not None:
            found.update(self.snapshots.index(snapshot).asset_ids())
        return found

    def shard(self, name: str) -> Shard:
        """What lies in one shard; asks a local disk for the size of each one-asset file."""
        (shard,) = self._shards([name], {name})
        return shard

    def shards(self) -> Iterator[Shard]:
        """All shards, in order of their ids; a few are held at a time. One listing for each that
        has one-asset files, and some more."""
        there = self._present()
        for start in range(0, len(SHARDS), _SHARDS_AHEAD):
            yield from self._shards(SHARDS[start : start + _SHARDS_AHEAD], there)

    def _present(self) -> set[str]:
        """The shards that have one-asset files."""
        names = self._objects.names("assets")
        return {name.removeprefix("shard=") for name in names} & set(SHARDS)

    def _shards(self, names: Sequence[str], there: Set[str]) -> Iterator[Shard]:
        listed = [name for name in names if name in there]
        listings = self._objects.map(lambda x: self._objects.sizes(f"assets/shard={x}"), listed)
        sizes = dict(zip(listed, listings, strict=True))
        snapshot = self.snapshots.newest()
        index = Index() if snapshot is None else self.snapshots.index(snapshot)
        for name in names:
            yield Shard(
                name=name,
                loose={
                    m[1]: size
                    for x, size in sizes.get(name, {}).items()
                    if (m := _FILE.fullmatch(x))
                },
                packed=index.of_shard(name),
                snapshot=snapshot,
            )

    def read(
        self, asset_ids: Iterable[str], columns: Columns, *, ahead: int = _GROUPS_AHEAD
    ) -> Iterator[pa.Table]:
        """Some columns of assets, one table each, in order.

        Assets that follow each other and lie in one row group are read together; of a remote
        dataset, up to `ahead` files or row groups are held at a time. InvalidStore for a damaged
        file, FileNotFoundError for an asset that is not there.
        """
        for found in self.read_each(asset_ids, columns, ahead=ahead):
            if isinstance(found, Unreadable):
                raise found
            yield found

    def read_each(
        self, asset_ids: Iterable[str], columns: Columns, *, ahead: int = _GROUPS_AHEAD
    ) -> Iterator[pa.Table | Unreadable]:
        """As `read`, past what cannot be read: the error stands in the table's place."""
        snapshot = self.snapshots.newest()
        places = ((x, self._find(snapshot, x)) for x in asset_ids)
        groups = (list(group) for _, group in groupby(places, key=lambda x: x[1] or x[0]))
        read = partial(self._read_group, columns=columns)
        for rows in self._objects.map(read, groups, ahead=ahead):
            yield from rows

    def read_packed(self, asset_id: str, columns: Columns) -> pa.Table | None:
        """Some columns of an asset in a recent snapshot, None if it is not packed."""
        place = self._find(self.snapshots.recent(), asset_id)
        return None if place is None else self._read_rows(place, [asset_id], columns)[0]

    def read_loose(self, asset_id: str, columns: Columns) -> pa.Table:
        """Some columns of a one-asset file. InvalidStore if damaged, FileNotFoundError if gone."""
        with self._parquet(asset_name(asset_id), "delete it and run again") as file:
            return file.read(_names(columns, file.schema_arrow))

    def _find(self, snapshot: Snapshot | None, asset_id: str) -> _RowGroup | None:
        if snapshot is None:
            return None
        place = self.snapshots.shard_index(snapshot, shard_of(asset_id)).find(asset_id)
        if place is None:
            return None
        file, number = place
        return _RowGroup(file=snapshot.files[file], number=number, partition=snapshot.partition)

    def _read_group(
        self, group: list[tuple[str, _RowGroup | None]], columns: Columns
    ) -> Sequence[pa.Table | Unreadable]:
        """The rows of assets that lie together, or the error of each: what is damaged is read once,
        however many lie there."""
        asset_id, place = group[0]
        try:
            if place is not None:
                return self._read_rows(place, [x for x, _ in group], columns)
            return [self._read_alone(asset_id, columns)]
        except (InvalidStore, FileNotFoundError) as error:
            return [error] * len(group)

    def _read_alone(self, asset_id: str, columns: Columns) -> pa.Table:
        try:
            return self.read_loose(asset_id, columns)
        except FileNotFoundError:
            packed = self.read_packed(asset_id, columns)  # it was packed and removed meanwhile
            if packed is None:
                raise
            return packed

    def _read_rows(
        self, place: _RowGroup, asset_ids: list[str], columns: Columns
    ) -> list[pa.Table]:
        with self._parquet(place.file.name, "restore it") as file:
            wanted = _names(columns, file.schema_arrow)
            table = file.read_row_group(place.number, ["asset_id", *wanted])
            rows = {asset_id: row for row, asset_id in enumerate(table["asset_id"].to_pylist())}
            if not rows.keys() >= set(asset_ids):
                raise pa.ArrowInvalid("an asset is not in the row group that its index names")
        if "asset_id" not in wanted:
            table = table.drop_columns(["asset_id"])
        partition = place.partition
        if partition is not None and (not isinstance(columns, list) or partition.name in columns):
            value = partitions.value_of(place.file.name, partition)
            table = table.append_column(partition, pa.array([value] * len(table), partition.type))
        return [table.slice(rows[asset_id], 1) for asset_id in asset_ids]

    @contextmanager
    def _parquet(self, name: str, remedy: str) -> Iterator[pq.ParquetFile]:
        """An object as Parquet. What cannot be read in the block is InvalidStore."""
        with self._objects.open(name) as stream:
            try:
                yield pq.ParquetFile(stream, pre_buffer=True, page_checksum_verification=True)
            except (pa.ArrowException, OSError) as error:
                if not is_damage(error):
                    error.add_note(f"while reading {self._objects.address(name)}")
                    raise
                raise InvalidStore(
                    f"{self._objects.address(name)} is no readable asset: {remedy} "
                    f"({' '.join(str(error).split())})"
                ) from error


def _names(columns: Columns, schema: pa.Schema) -> list[str]:
    return columns if isinstance(columns, list) else (columns or scalar_names)(schema)
