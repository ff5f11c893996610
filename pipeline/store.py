"""The dataset: which object has which name, and who may write it when.

    assets/shard=x<hh>/<asset_id>.parquet   one asset, created once: its existence is its commit
    catalog/part-00000.parquet              scalars of all assets, written anew at any time
    contact_sheet.png                       pictures of the newest assets, likewise
    _runs/<run_id>/run.json                 what a run set out to do, created once
    _runs/<run_id>/summary.json             what came of it, written anew when it is resumed
    _rejected/<run_id>.parquet              rows not made: row, prompt_id, prompt, reason
    _failures/<asset_id>-<attempt_id>.json  one failed attempt
    _embeddings/<name>                      embedded texts, while a run wants them
    _schema.json                            types of the carried columns, created by the first run

This is the only file through which the pipeline writes to storage; how a write is made atomic, and
what a kill in the middle of one leaves, is told in `objects.py`. The order of a run:

    1. `open(create=True)`  proves that the place can be written to; fails before anything is there
    2. `claim_schema`       creates `_schema.json`, or fails if the carried columns differ from it
    3. `start_run`          creates `run.json`; after a kill here, the run is there without assets
    4. `commit`, `write_failure`, `write_rejections`: any number of times, in any order, by anyone
    5. `catalog.write`, `finish_run`: a run killed before them has all its assets all the same

Any storage error but the ones named passes through, so that its caller can try again; every step
may be repeated.
"""

import base64
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import places
from pipeline.asset_table import scalar_names
from pipeline.errors import InvalidStore, UserError
from pipeline.objects import Objects
from pipeline.plan import SHARDS, shard
from pipeline.records import CommitResult, Failure, Rejection, RunStart, RunSummary

_SCHEMA_NAME = "_schema.json"
_ASSET_FILE = re.compile(r"([0-9a-f]{32})\.parquet")
_REJECTED = pa.schema(
    [
        ("row", pa.int64()),
        ("prompt_id", pa.string()),
        ("prompt", pa.string()),
        ("reason", pa.string()),
    ]
)
_REJECTED_BATCH = 8192
_IDENTITY = ["asset_id", "attempt_id"]


class Store:
    """One dataset. Picklable: an actor takes it along and opens its own connection."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    @classmethod
    def open(cls, url: str, *, create: bool) -> Self:
        """The dataset at `url`.

        `create=True`, for a run: UserError where nothing can be written, for `memory://` (each
        process has its own) and where creation does not exclude; leaves nothing but the directory.
        `create=False`, for readers: InvalidStore where there is no dataset.
        """
        fs, root = places.connect(url)
        store = cls(Objects(fs, root, url=url))
        if create:
            if url.startswith("memory:"):
                raise UserError(f"{url} is private to each process: use a path or a bucket's URL")
            store._objects.probe()
        elif not store._is_dataset():
            raise InvalidStore(f"no dataset at {url}: expected an output of `dreambatch run`")
        return store

    @property
    def url(self) -> str:
        """Where the dataset is, as it was given."""
        return self._objects.url

    def commit(self, asset_id: str, table_bytes: bytes) -> CommitResult:
        """Publish an asset for ever; "duplicate" if another attempt was first.

        Repeating a commit that had succeeded is "committed" again: the attempt's own object is
        recognised by its `attempt_id`. InvalidStore if the name holds something unreadable.
        """
        ours = pq.read_table(io.BytesIO(table_bytes), columns=_IDENTITY)
        assert ours["asset_id"].to_pylist() == [asset_id], f"bytes of another asset: {asset_id}"
        name = asset_name(asset_id)
        if self._objects.create(name, table_bytes):
            return "committed"
        winner = self._read_parquet(name, _IDENTITY)
        return "committed" if winner["attempt_id"] == ours["attempt_id"] else "duplicate"

    def committed(self) -> set[str]:
        """The ids of all committed assets: one listing of names for each of the 256 shards."""
        self._check_layout()
        listings = self._objects.map(lambda x: self._objects.names(f"assets/shard={x}"), SHARDS)
        return {
            match[1] for names in listings for match in map(_ASSET_FILE.fullmatch, names) if match
        }

    def asset_sizes(self) -> dict[str, int]:
        """Committed ids and their sizes in bytes."""
        self._check_layout()
        listings = self._objects.map(lambda x: self._objects.sizes(f"assets/shard={x}"), SHARDS)
        found = ((_ASSET_FILE.fullmatch(name), size) for x in listings for name, size in x.items())
        return {match[1]: size for match, size in found if match}

    def read_assets(
        self, asset_ids: Iterable[str], columns: list[str] | None = None
    ) -> Iterator[pa.Table]:
        """Some columns of committed assets (None: the scalars), one table each, in order.

        Only these columns are fetched; a column may be a leaf (`views.list.element.radius`).
        """
        names = map(asset_name, asset_ids)
        return self._objects.map(lambda name: self._read_parquet(name, columns), names)

    def claim_schema(self, carried: pa.Schema) -> None:
        """Fix the carried columns' names and types at the first run. UserError as `check_schema`
        if an earlier one has fixed them."""
        types = {column.name: str(column.type) for column in carried}
        serialised = base64.b64encode(carried.remove_metadata().serialize()).decode()
        document = {"version": 1, "carried": types, "arrow_schema": serialised}
        if not self.put_json(_SCHEMA_NAME, document, create=True):
            self.check_schema(carried)

    def check_schema(self, carried: pa.Schema) -> None:
        """UserError if a manifest's carried columns are not those that the first run fixed."""
        ours = {column.name: str(column.type) for column in carried}
        fixed = {column.name: str(column.type) for column in self.carried_schema()}
        for name in sorted(fixed.keys() | ours.keys()):
            if fixed.get(name) != ours.get(name):
                raise UserError(
                    f"column {name!r} is {ours.get(name, 'absent')} in this manifest and "
                    f"{fixed.get(name, 'absent')} in {self.url}: change the manifest, or write to "
                    "another output"
                )

    def carried_schema(self) -> pa.Schema:
        """Names and types of the carried columns, as the first run fixed them."""
        document = self.read_json(_SCHEMA_NAME)
        if document is None:
            raise InvalidStore(f"{self.url} has no {_SCHEMA_NAME}: no run has begun there")
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(document["arrow_schema"])))

    def start_run(self, run: RunStart) -> bool:
        """Write `run.json`, once: False if the run is already there (it is being resumed)."""
        return self.put_json(f"_runs/{run.run_id}/run.json", run.to_dict(), create=True)

    def read_run(self, run_id: str) -> RunStart | None:
        """What a run set out to do."""
        document = self.read_json(f"_runs/{run_id}/run.json")
        return None if document is None else RunStart.from_dict(document)

    def runs(self) -> list[RunStart]:
        """All runs, oldest first."""
        found = self._objects.map(self.read_run, self._objects.names("_runs"))
        return sorted((run for run in found if run), key=lambda run: (run.created_at, run.run_id))

    def latest_run(self) -> RunStart | None:
        """The run that was started last."""
        return next(reversed(self.runs()), None)

    def finish_run(self, summary: RunSummary) -> None:
        """Write `summary.json` of a run, over that of an earlier try at it."""
        self.put_json(f"_runs/{summary.run_id}/summary.json", summary.to_dict())

    def read_summary(self, run_id: str) -> RunSummary | None:
        """What came of a run; None while it is not over (or if it was killed)."""
        document = self.read_json(f"_runs/{run_id}/summary.json")
        return None if document is None else RunSummary.from_dict(document)

    def write_rejections(self, run_id: str, rejections: Iterable[Rejection]) -> int:
        """Write `_rejected/<run_id>.parquet`, nothing if there are none; returns how many."""
        buffer, remaining, count = io.BytesIO(), iter(rejections), 0
        with pq.ParquetWriter(buffer, _REJECTED, compression="zstd") as writer:
            while batch := list(itertools.islice(remaining, _REJECTED_BATCH)):
                writer.write_table(pa.Table.from_pylist([asdict(x) for x in batch], _REJECTED))
                count += len(batch)
        if count:
            self.publish(f"_rejected/{run_id}.parquet", buffer.getvalue())
        return count

    def write_failure(self, failure: Failure) -> None:
        """Keep a failed attempt."""
        name = f"_failures/{failure.asset_id}-{failure.attempt_id}.json"
        self.put_json(name, failure.to_dict())

    def failures(self) -> Iterator[Failure]:
        """All failed attempts, in no order."""
        found = self._objects.names("_failures")
        names = (f"_failures/{name}" for name in found if name.endswith(".json"))
        for document in self._objects.map(self.read_json, names):
            if document is not None:
                yield Failure.from_dict(document)

    def put_json(self, name: str, document: Mapping[str, Any], *, create: bool = False) -> bool:
        """Write a JSON object. With `create`, False if the name is taken, which stays as it is."""
        data = json.dumps(document, indent=2, ensure_ascii=False).encode()
        if create:
            return self._objects.create(name, data)
        self._objects.publish(name, data)
        return True

    def read_json(self, name: str) -> dict[str, Any] | None:
        """A JSON object, None if there is none of that name."""
        data = self._objects.read(name)
        return None if data is None else json.loads(data)

    def publish(self, name: str, data: bytes) -> str:
        """Write or replace an object that is made from the assets; returns its address."""
        return self._objects.publish(name, data)

    def read_table(self, name: str) -> pa.Table | None:
        """A whole Parquet object that `publish` wrote, None if there is none of that name."""
        data = self._objects.read(name)
        return None if data is None else pq.read_table(io.BytesIO(data))

    def write_embedding(self, name: str, data: bytes) -> None:
        """Keep the embedded texts of a prompt for the run."""
        self._objects.publish(f"_embeddings/{name}", data)

    def read_embedding(self, name: str) -> bytes | None:
        """What `write_embedding` wrote, None if there is nothing."""
        return self._objects.read(f"_embeddings/{name}")

    def remove_embedding(self, name: str) -> None:
        """Delete the embedded texts of a prompt."""
        self._objects.remove(f"_embeddings/{name}")

    def remove_embeddings(self) -> None:
        """Delete all embedded texts."""
        for _ in self._objects.map(self.remove_embedding, self._objects.names("_embeddings")):
            pass
        self._objects.remove_directory("_embeddings")

    def remove_stale(self, older_than_seconds: float = 3600.0) -> int:
        """Delete temporaries that killed writers left (local disks only); returns how many."""
        return self._objects.remove_stale(older_than_seconds)

    def _is_dataset(self) -> bool:
        try:
            return any(map(self._objects.exists, (_SCHEMA_NAME, "_runs", "assets")))
        except Exception as error:
            if places.is_final(error):
                raise UserError(f"cannot read {self.url}: {places.reason(error)}") from error
            raise

    def _check_layout(self) -> None:
        if self._objects.exists("_snapshots"):
            raise InvalidStore(
                f"{self.url} holds packed assets, which this version cannot read: use the version "
                "of dreambatch that packed them"
            )

    def _read_parquet(self, name: str, columns: list[str] | None) -> pa.Table:
        """Some columns of an asset (None: its scalars). FileNotFoundError if it is not there."""
        with self._objects.open(name) as stream:
            try:
                file = pq.ParquetFile(stream, pre_buffer=True)
                return file.read(columns or scalar_names(file.schema_arrow))
            except pa.ArrowException as error:
                raise InvalidStore(
                    f"{self._objects.address(name)} is no readable asset: delete it and run again "
                    f"({error})"
                ) from error
            except OSError as error:
                error.add_note(f"while reading {self._objects.address(name)}")
                raise


def asset_name(asset_id: str) -> str:
    """Where an asset lies, relative to its dataset."""
    return f"assets/shard={shard(asset_id)}/{asset_id}.parquet"
