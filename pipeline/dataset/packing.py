"""One packed file: rows of many assets, sorted by asset_id, streamed from where they lie now.

Assets come from one-asset files and from smaller packed files, and go row group by row group into a
file of this machine, which is then created under its final name. Memory: a row group is at most 64
assets or 32 MB (one asset if it is larger); one such is held of what is written, and one of each
packed file that is merged.

A one-asset file that cannot be read whole, that holds something else than its name says, or whose
columns do not fit is left where it is and named. A packed file that is damaged is an error, and
an error of the storage passes through.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset import huggingface
from pipeline.dataset.asset_table import asset_schema, parquet_options
from pipeline.dataset.snapshots import PackedFile
from pipeline.storage.damage import is_damage
from pipeline.storage.objects import Objects

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

ROW_GROUP_ASSETS = 64
ROW_GROUP_BYTES = 32_000_000

_IDENTITY = {"asset_id", "attempt_id", "prompt", "recipe_digest"}
_READ_ERRORS = (pa.ArrowException, OSError, ValueError)
"""What pyarrow raises for bytes that are no Parquet, or not what they were."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """An asset of about `num_bytes`: in a row group of the packed file `name`, or in the one-asset
    file `name` (`row_group` is None)."""

    asset_id: str
    name: str
    row_group: int | None
    num_bytes: int


@dataclass(frozen=True, kw_only=True)
class Left:
    """A one-asset file that was left where it is, and why."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Pack:
    """A packed file with the ids and row groups of its rows, and what was left. `file` is None if
    nothing could be packed."""

    file: PackedFile | None
    asset_ids: list[str]
    row_groups: list[int]
    left: list[Left]


class DamagedPack(Exception):
    """A packed file that was to be merged is damaged, or not there."""

    def __init__(self, name: str, error: Exception) -> None:
        super().__init__(" ".join(str(error).split()))
        self.name = name


class Gone(Exception):
    """A one-asset file that was to be packed is not there any more."""


class Packer:
    """Writes packed files. Their columns are those of all assets that it has met so far.

    `omit` is the column that partitions, which the files leave out.
    """

    def __init__(self, objects: Objects, carried: pa.Schema, *, omit: str | None = None) -> None:
        self._objects = objects
        self._carried = carried
        self._omit = omit
        self._schema = asset_schema(carried)

    def write(self, name: str, members: Iterable[Member]) -> Pack:
        """Create a packed file of these assets. DamagedPack and Gone leave nothing behind."""
        ordered = sorted(members, key=lambda member: member.asset_id)
        while True:
            try:
                return self._write(name, ordered)
            except _MoreColumns as found:
                self._schema = found.schema

    def _write(self, name: str, members: list[Member]) -> Pack:
        schema = _without(self._schema, self._omit)
        asset_ids: list[str] = []
        row_groups: list[int] = []
        left: list[Left] = []
        with self._objects.scratch(name) as path:
            with _HashedFile(path) as stream:
                with pq.ParquetWriter(stream, schema, **parquet_options(schema)) as writer:
                    for number, table in enumerate(self._row_groups(members, left)):
                        writer.write_table(table.select(schema.names), row_group_size=len(table))
                        asset_ids += table["asset_id"].to_pylist()
                        row_groups += [number] * len(table)
                size, sha256 = stream.tell(), stream.digest.hexdigest()
            file = PackedFile(name=name, rows=len(asset_ids), bytes=size, sha256=sha256)
            if asset_ids:
                self._objects.create_from(name, path)
        is_empty = not asset_ids
        return Pack(
            file=None if is_empty else file, asset_ids=asset_ids, row_groups=row_groups, left=left
        )

    def _row_groups(self, members: list[Member], left: list[Left]) -> Iterator[pa.Table]:
        packed = _PackedRows(self._objects)
        for batch in _batches(members):
            loose = [member for member in batch if member.row_group is None]
            found = dict(zip(loose, self._objects.map(self._read_loose, loose), strict=True))
            rows: list[pa.Table] = []
            for member in batch:
                row = found[member] if member.row_group is None else self._packed(packed, member)
                if isinstance(row, Left):
                    left.append(row)
                else:
                    rows.append(row)
            if rows:
                yield pa.concat_tables([_widened(row, self._schema) for row in rows])

    def _packed(self, packed: "_PackedRows", member: Member) -> pa.Table:
        row = packed.read(member)
        unfit = self._misfit(row.schema)
        if unfit:
            raise DamagedPack(member.name, ValueError(unfit))
        return row

    def _read_loose(self, member: Member) -> pa.Table | Left:
        data = self._objects.read(member.name)
        if data is None:
            raise Gone(member.name)
        try:
            table = pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True).read()
            table.validate(full=True)
            is_ours = set(table.column_names) >= _IDENTITY and len(table) == 1
            if not is_ours or table["asset_id"].to_pylist() != [member.asset_id]:
                return Left(name=member.name, reason="does not hold the asset of its name")
        except _READ_ERRORS as error:
            return Left(name=member.name, reason=f"not readable: {' '.join(str(error).split())}")
        unfit = self._misfit(table.schema)
        return Left(name=member.name, reason=unfit) if unfit else table

    def _misfit(self, schema: pa.Schema) -> str | None:
        """Why a row cannot go in, if it cannot. _MoreColumns if it needs a wider file."""
        if len(set(schema.names)) < len(schema.names):
            return "has two columns of one name"
        new: list[pa.Field] = []
        for field in schema:
            is_new = field.name not in self._schema.names
            expected = pa.float64() if is_new else self._schema.field(field.name).type
            if field.type != expected and (not is_new or field.name.startswith("loss_")):
                return f"column {field.name!r} is {field.type}, expected {expected}"
            if is_new:
                new.append(field)
        if new:
            raise _MoreColumns(_extended(self._schema, new, self._carried))
        return None


class _HashedFile(io.BufferedWriter):
    """A new file of this machine. `digest` is of the bytes that it was given, whatever the disk
    makes of them."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "xb"))
        self.digest = hashlib.sha256()

    def write(self, data: "ReadableBuffer", /) -> int:
        self.digest.update(data)
        return super().write(data)


class _PackedRows:
    """Rows of packed files that are asked for in the order in which they lie there."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._current: dict[str, tuple[int, pa.Table, dict[str, int]]] = {}

    def read(self, member: Member) -> pa.Table:
        """The row of an asset. DamagedPack if it is not what it was."""
        assert member.row_group is not None
        number, table, rows = self._current.get(member.name, (None, None, None))
        if number != member.row_group:
            self._current.pop(member.name, None)
            table = self._read_row_group(member.name, member.row_group)
            rows = {asset_id: row for row, asset_id in enumerate(table["asset_id"].to_pylist())}
            self._current[member.name] = (member.row_group, table, rows)
        assert table is not None
        assert rows is not None
        if member.asset_id not in rows:
            raise DamagedPack(member.name, KeyError(member.asset_id))
        return table.slice(rows[member.asset_id], 1)

    def _read_row_group(self, name: str, number: int) -> pa.Table:
        try:
            with self._objects.open(name) as stream:
                file = pq.ParquetFile(stream, pre_buffer=True, page_checksum_verification=True)
                return file.read_row_group(number)
        except _READ_ERRORS as error:
            is_gone = isinstance(error, FileNotFoundError)
            if isinstance(error, OSError) and not (is_gone or is_damage(error)):
                raise
            raise DamagedPack(name, error) from error


class _MoreColumns(Exception):
    """An asset has columns that the file does not."""

    def __init__(self, schema: pa.Schema) -> None:
        super().__init__()
        self.schema = schema


def _widened(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows with all columns of the schema, null where they have none."""
    names = set(table.column_names)
    columns = [
        table[field.name] if field.name in names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _extended(schema: pa.Schema, new: Iterable[pa.Field], carried: pa.Schema) -> pa.Schema:
    """A schema with more columns, by name between the dataset's own and the carried ones."""
    own = set(asset_schema(pa.schema([])).names)
    later = [field for field in schema if field.name not in own | set(carried.names)]
    ordered = sorted([*later, *new], key=lambda field: field.name)
    return pa.schema([*asset_schema(pa.schema([])), *ordered, *carried])


def _without(schema: pa.Schema, omit: str | None) -> pa.Schema:
    """A schema without a column, and with the metadata that fit it."""
    kept = pa.schema([field for field in schema if field.name != omit])
    return kept.with_metadata(huggingface.metadata(kept))


def _batches(members: list[Member]) -> Iterator[list[Member]]:
    """Members in the order given, as many at a time as one row group may hold."""
    batch: list[Member] = []
    num_bytes = 0
    for member in members:
        is_full = len(batch) == ROW_GROUP_ASSETS or num_bytes + member.num_bytes > ROW_GROUP_BYTES
        if batch and is_full:
            yield batch
            batch, num_bytes = [], 0
        batch.append(member)
        num_bytes += member.num_bytes
    if batch:
        yield batch
