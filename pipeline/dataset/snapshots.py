"""Numbered states of the packed part of a dataset; readers take the newest.

    _snapshots/<%08d>.json                  which packed files there are; created once
    _snapshots/<%08d>.<digest>.ids.parquet  its index: which asset lies in which file and row group

A snapshot is published in two steps: its index, whose name holds the digest of its bytes, and then
the JSON object, created if absent, which is the moment it counts. A kill between them leaves an
index that nothing names; `gc` removes it. Of two compactors that publish the same number one is
told that it lost, and starts again from the other's snapshot. A snapshot never changes, and each
holds all assets of the one before it.

The index has one row group for each of the 256 shards, sorted by asset id, 24 bytes an asset, so
that the ids of one shard are read with one ranged read.
"""

import hashlib
import io
import json
import math
import re
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset.asset_names import SHARDS
from pipeline.errors import InvalidStore
from pipeline.records import now
from pipeline.storage.damage import is_damage
from pipeline.storage.objects import Objects

DIRECTORY = "_snapshots"
RECENT_SECONDS = 60.0

_NAME = re.compile(r"(\d{8})\.json")
_INDEX = pa.schema(
    [
        pa.field("asset_id", pa.binary(16), nullable=False),
        pa.field("file", pa.int32(), nullable=False),
        pa.field("row_group", pa.int32(), nullable=False),
    ]
)


@dataclass(frozen=True, kw_only=True)
class PackedFile:
    """A file of many assets; `name` is relative to the dataset, `sha256` the digest of its bytes in
    hex."""

    name: str
    rows: int
    bytes: int
    sha256: str

    @property
    def directory(self) -> str:
        """Its partition."""
        return self.name.rpartition("/")[0]


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One state. The index counts files in the order of `files`. `partition_by` names the carried
    column by which they lie, and `partition_type` its type; both are None where it is by shard."""

    number: int
    created_at: str
    partition_by: str | None
    partition_type: str | None
    files: tuple[PackedFile, ...]
    num_assets: int
    index: str

    @property
    def partition(self) -> pa.Field | None:
        """The column that the directories of the files stand for."""
        if self.partition_by is None:
            return None
        return pa.field(self.partition_by, pa.type_for_alias(self.partition_type))

    @property
    def num_bytes(self) -> int:
        """Size of all packed files."""
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True, kw_only=True)
class Index:
    """Where assets lie: three arrays in parallel, sorted by id (16 bytes each)."""

    ids: np.ndarray = field(default_factory=lambda: np.empty(0, "S16"))
    files: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))
    row_groups: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))

    @classmethod
    def sorted(cls, *, ids: np.ndarray, files: np.ndarray, row_groups: np.ndarray) -> Self:
        """An index of assets in any order."""
        order = np.argsort(ids, kind="stable")
        return cls(ids=ids[order], files=files[order], row_groups=row_groups[order])

    @classmethod
    def from_table(cls, table: pa.Table) -> Self:
        """What `to_table` gave."""
        ids = table["asset_id"].combine_chunks()
        raw = ids.buffers()[1][16 * ids.offset : 16 * (ids.offset + len(ids))] if len(ids) else b""
        return cls(
            ids=np.frombuffer(raw, "S16"),
            files=table["file"].to_numpy(),
            row_groups=table["row_group"].to_numpy(),
        )

    def to_table(self) -> pa.Table:
        """The index in its Arrow form."""
        data = pa.py_buffer(np.ascontiguousarray(self.ids).tobytes())
        ids = pa.Array.from_buffers(pa.binary(16), len(self.ids), [None, data])
        return pa.table([ids, self.files, self.row_groups], schema=_INDEX)

    def __len__(self) -> int:
        return len(self.ids)

    def asset_ids(self) -> list[str]:
        """The ids in hex."""
        return to_hex(self.ids)

    def find(self, asset_id: str) -> tuple[int, int] | None:
        """File and row group of an asset, None if it is not packed."""
        wanted = to_bytes([asset_id])
        at = int(np.searchsorted(self.ids, wanted)[0])
        if at == len(self) or self.ids[at] != wanted[0]:
            return None
        return int(self.files[at]), int(self.row_groups[at])

    def of_shard(self, name: str) -> "Index":
        """The part of one shard."""
        first = bytes([SHARDS.index(name)])
        start = int(np.searchsorted(self.ids, np.array([first], "S16"))[0])
        stop = int(np.searchsorted(self.ids, np.array([first + b"\xff" * 15], "S16"), "right")[0])
        span = slice(start, stop)
        return Index(ids=self.ids[span], files=self.files[span], row_groups=self.row_groups[span])


def to_bytes(asset_ids: Iterable[str]) -> np.ndarray:
    """Asset ids of 32 hex digits as an array of 16 bytes each."""
    return np.frombuffer(bytes.fromhex("".join(asset_ids)), "S16")


def to_hex(ids: np.ndarray) -> list[str]:
    """Inverse of `to_bytes`."""
    digits = np.ascontiguousarray(ids).tobytes().hex()
    return [digits[start : start + 32] for start in range(0, len(digits), 32)]


class Snapshots:
    """The snapshots of one dataset. Picklable; keeps what it read of the newest one."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._newest: Snapshot | None = None
        self._whole: Index | None = None
        self._shards: dict[str, Index] = {}
        self._looked = -math.inf

    def __reduce__(self) -> tuple[type[Self], tuple[Objects]]:
        return type(self), (self._objects,)

    def numbers(self) -> list[int]:
        """The numbers of all snapshots that still are there, oldest first.

        InvalidStore where a file is in their directory's place: the packed would be made again.
        """
        found = map(_NAME.fullmatch, self._objects.names(DIRECTORY))
        numbers = sorted(int(match[1]) for match in found if match)
        if not numbers and self._objects.is_file(DIRECTORY):
            raise self._damaged(DIRECTORY, NotADirectoryError("it is a file"))
        return numbers

    def recent(self) -> Snapshot | None:
        """What was the newest snapshot at most `RECENT_SECONDS` ago: so that a commit needs no
        listing of its own. InvalidStore if damaged."""
        if time.monotonic() - self._looked < RECENT_SECONDS:
            return self._newest
        return self.newest()

    def newest(self) -> Snapshot | None:
        """The newest snapshot; one listing, and one read if it is new. InvalidStore if damaged."""
        began = time.monotonic()
        found = self._look()
        self._looked = began  # a look that failed says nothing of what is packed
        return found

    def _look(self) -> Snapshot | None:
        while numbers := self.numbers():
            known = self._newest
            if known is not None and known.number == numbers[-1]:
                return known
            found = self.read(numbers[-1])
            if found is not None:
                self._newest, self._whole, self._shards = found, None, {}
                return found
        return None

    def read(self, number: int) -> Snapshot | None:
        """One snapshot, None if it has gone. InvalidStore if it is damaged."""
        data = self._objects.read(snapshot_name(number))
        if data is None:
            return None
        try:
            document = json.loads(data)
            files = tuple(PackedFile(**file) for file in document.pop("files"))
            found = Snapshot(**document, files=files)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise self._damaged(snapshot_name(number), error) from error
        return found

    def index(self, snapshot: Snapshot) -> Index:
        """The whole index of a snapshot, 24 bytes an asset; that of the newest is read once."""
        whole = self._whole if snapshot is self._newest else None
        if whole is None:
            whole = self._read_index(snapshot, list(range(len(SHARDS))))
        if snapshot is self._newest:
            self._whole = whole
        return whole

    def shard_index(self, snapshot: Snapshot, name: str) -> Index:
        """The index of one shard; of the newest snapshot it is read once."""
        shards = self._shards if snapshot is self._newest else {}
        whole = self._whole if snapshot is self._newest else None
        if whole is not None:
            return whole.of_shard(name)
        if name not in shards:
            shards[name] = self._read_index(snapshot, [SHARDS.index(name)])
        return shards[name]

    def publish(
        self, number: int, files: Iterable[PackedFile], index: Index, *, partition: pa.Field | None
    ) -> Snapshot | None:
        """Publish a snapshot; None if another one has the number."""
        data = _to_parquet(index)
        digest = hashlib.sha256(data).hexdigest()[:16]
        snapshot = Snapshot(
            number=number,
            created_at=now(),
            partition_by=partition and partition.name,
            partition_type=partition and str(partition.type),
            files=tuple(files),
            num_assets=len(index),
            index=f"{DIRECTORY}/{number:08d}.{digest}.ids.parquet",
        )
        self._objects.create(snapshot.index, data)
        document = json.dumps(asdict(snapshot), ensure_ascii=False).encode()
        name = snapshot_name(number)
        is_ours = self._objects.create(name, document) or self._objects.read(name) == document
        return snapshot if is_ours else None

    def _read_index(self, snapshot: Snapshot, row_groups: list[int]) -> Index:
        try:
            with self._objects.open(snapshot.index) as stream:
                file = pq.ParquetFile(stream, page_checksum_verification=True)
                return Index.from_table(file.read_row_groups(row_groups))
        except (pa.ArrowException, OSError, KeyError) as error:
            if not is_damage(error) and not isinstance(error, FileNotFoundError | KeyError):
                raise
            raise self._damaged(snapshot.index, error) from error

    def _damaged(self, name: str, error: Exception) -> InvalidStore:
        return InvalidStore(
            f"{self._objects.address(name)} is damaged or not there, and tells which assets are "
            f"packed: restore it ({' '.join(str(error).split())})"
        )


def snapshot_name(number: int) -> str:
    """Where a snapshot lies, relative to its dataset."""
    return f"{DIRECTORY}/{number:08d}.json"


def _to_parquet(index: Index) -> bytes:
    """The index with one row group for each shard, empty ones included."""
    buffer = io.BytesIO()
    options: dict[str, Any] = {
        "compression": {"asset_id": "none", "file": "zstd", "row_group": "zstd"},
        "use_dictionary": False,
        "write_page_checksum": True,
    }
    with pq.ParquetWriter(buffer, _INDEX, **options) as writer:
        for name in SHARDS:
            writer.write_table(index.of_shard(name).to_table())
    return buffer.getvalue()
