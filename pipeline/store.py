"""The dataset: which object has which name, and who may write it when.

    assets/shard=x<hh>/<asset_id>.parquet   one asset, created once: its existence is its commit
    packed/<partition>/<name>.parquet       many assets: copies, which count once a snapshot says so
    _snapshots/<number>.json                which packed files count: the newest does
    catalog/part-00000.parquet              scalars of all assets, written anew at any time
    README.md                               the dataset card, likewise
    contact_sheet.png                       pictures of the newest assets, likewise
    scores/<metric digest>/<name>.parquet   what a judge says, created; see dataset/scores.py
    _runs/<run_id>/run.json                 what a run set out to do, created once
    _runs/<run_id>/summary.json             what came of it, written anew when it is resumed
    _rejected/<run_id>.parquet              rows not made: row, prompt_id, prompt, reason
    _failures/<asset_id>-<attempt_id>.json  one failed attempt
    _pardons/<stamp>-<uuid>.json            failures that count no longer
    _checkpoints/<asset_id>.sealed          a half-made asset, written anew, deleted when it is made
    _embeddings/<name>                      embedded texts, while a run wants them
    _lease/<number>.json                    which runs are at work here; see dataset/lease.py
    _schema.json                            types of the carried columns, created by the first run

A run writes to storage through this file and, in `dataset/`, `lease.py` and `catalog.py` alone;
compaction through `compact.py` and `dataset/garbage.py`, evaluation through `scores.py` and
`catalog.py` in `dataset/`; how one object is written, and what a kill in the middle of it leaves,
is told in `storage/objects.py`. The order of a run, and what is there after a kill in each step:

    1. `open(create=True)`  proves that the place can be written to. Nothing.
    2. `claim_schema`       creates `_schema.json`, or fails if the carried columns differ from it.
                            The schema, or nothing; the next run compares or creates it.
    3. `start_run`          creates `run.json`. The run, without assets.
    4. `commit`, `write_failure`, `write_rejections`, checkpoints: any number of times, in any
                            order, by anyone. Below.
    5. `catalog.write`, `finish_run`. All assets, with an old catalog or no summary; the next run of
                            the manifest has nothing to make, and writes both.

A commit, whose asset is there or not there after each step, and never in part:

    a. is it packed?        asks a snapshot that was the newest a minute ago or since; `gc`, which
                            deletes what is packed, waits longer. Nothing has happened.
    b. create               one conditional request, or temporary, fsync, link. Killed: whole or
                            absent, and the next run sees which by listing. Error: the same; the
                            caller repeats the commit. Taken: c.
    c. whose is it?         reads the `attempt_id` of what is there. Ours: b had succeeded, in an
                            earlier try or under a lost answer: "committed". Another's: "duplicate",
                            and our bytes are nowhere. Error: the caller repeats the commit.
    d. acknowledgement      the actor answers the driver. Killed before: nobody was told, the next
                            listing tells.

A failed attempt that is not written because of a kill is an attempt that is not counted: it may be
made once more. A checkpoint is written by `publish`: the old one or the new. Whatever it holds,
its asset is made; a damaged one is left out.

A storage error but the ones named passes through, so that its caller can try again; every step may
be repeated. `places.kind` tells what it means: a full disk and a refusal hit whatever is written
next, so that a run ends for them and quarantines nobody.
"""

import base64
import io
import itertools
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset import documents
from pipeline.dataset.asset_names import asset_name
from pipeline.dataset.assets import Assets, Shard
from pipeline.dataset.failures import Failures
from pipeline.errors import InvalidStore, UserError
from pipeline.prompts import rejection_table
from pipeline.records import CommitResult, Failure, Rejection, RunStart, RunSummary
from pipeline.storage import places
from pipeline.storage.damage import is_damage
from pipeline.storage.objects import Entry, Objects
from pipeline.storage.seals import seal, unseal

_LOG = logging.getLogger(__name__)
_OPENING_SECONDS = 20
_SCHEMA_NAME = "_schema.json"
_CHECKPOINT_FILE = re.compile(r"([0-9a-f]{32})\.sealed")
_REJECTED_BATCH = 8192
_IDENTITY = ["asset_id", "attempt_id"]


class Store:
    """One dataset. Picklable: an actor takes it along and opens its own connection."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.assets = Assets(objects)
        self._failures = Failures(objects)

    @classmethod
    def open(cls, url: str, *, create: bool) -> Self:
        """The dataset at `url`.

        `create=True`, for a run: UserError where nothing can be written, for `memory://` (each
        process has its own) and where creation does not exclude; leaves nothing behind.
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

    @property
    def objects(self) -> Objects:
        """What the dataset is made of: for those who look after it as a whole."""
        return self._objects

    def commit(self, asset_id: str, table_bytes: bytes) -> CommitResult:
        """Publish an asset for ever; "duplicate" if another attempt was first.

        Repeating a commit that had succeeded is "committed" again, packed or not: the attempt's own
        asset is recognised by its `attempt_id`. InvalidStore if what is there is unreadable.
        """
        ours = pq.ParquetFile(pa.BufferReader(table_bytes)).read(_IDENTITY)
        assert ours["asset_id"].to_pylist() == [asset_id], f"bytes of another asset: {asset_id}"
        winner = self.assets.read_packed(asset_id, _IDENTITY)
        if winner is None:
            if self._objects.create(asset_name(asset_id), table_bytes):
                return "committed"
            (winner,) = self.assets.read([asset_id], _IDENTITY)
        return "committed" if winner["attempt_id"] == ours["attempt_id"] else "duplicate"

    def committed(self) -> set[str]:
        """The ids of all committed assets, packed ones included: one listing of names for each
        shard that has one-asset files, up to 256, and two more."""
        return self.assets.committed()

    def shards(self) -> Iterator[Shard]:
        """The committed assets shard by shard, in order, with the sizes of one-asset files."""
        return self.assets.shards()

    def read_assets(
        self, asset_ids: Iterable[str], columns: list[str] | None = None
    ) -> Iterator[pa.Table]:
        """Some columns of committed assets (None: the scalars), one table each, in order.

        Only these columns are fetched; a column may be a leaf (`views.list.element.radius`).
        """
        return self.assets.read(asset_ids, columns)

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
        try:
            return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(document["arrow_schema"])))
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise InvalidStore(
                f"{self._objects.address(_SCHEMA_NAME)} is damaged or not ours: restore it, or "
                f"write to another output ({' '.join(str(error).split())})"
            ) from error

    def start_run(self, run: RunStart) -> bool:
        """Write `run.json`, once: False if the run is already there (it is being resumed)."""
        return self.put_json(f"_runs/{run.run_id}/run.json", run.to_dict(), create=True)

    def read_run(self, run_id: str) -> RunStart | None:
        """What a run set out to do."""
        return documents.read_record(self._objects, f"_runs/{run_id}/run.json", RunStart)

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
        return documents.read_record(self._objects, f"_runs/{run_id}/summary.json", RunSummary)

    def write_rejections(self, run_id: str, rejections: Iterable[Rejection]) -> int:
        """Write `_rejected/<run_id>.parquet`, nothing if there are none; returns how many."""
        buffer, remaining, count = io.BytesIO(), iter(rejections), 0
        with pq.ParquetWriter(buffer, rejection_table.SCHEMA, compression="zstd") as writer:
            while batch := list(itertools.islice(remaining, _REJECTED_BATCH)):
                rows = [asdict(rejection) for rejection in batch]
                writer.write_table(pa.Table.from_pylist(rows, rejection_table.SCHEMA))
                count += len(batch)
        if count:
            self.publish(f"_rejected/{run_id}.parquet", buffer.getvalue())
        return count

    def rejections(self, run_id: str) -> Iterator[Rejection]:
        """The rows that a run rejected, in the manifest's order. InvalidStore if damaged."""
        name = f"_rejected/{run_id}.parquet"
        try:
            with self._objects.open(name) as stream:
                for batch in pq.ParquetFile(stream).iter_batches(batch_size=_REJECTED_BATCH):
                    for row in batch.to_pylist():
                        yield Rejection(**row)
        except FileNotFoundError:
            return
        except (pa.ArrowException, OSError, TypeError) as error:
            if not isinstance(error, TypeError) and not is_damage(error):
                raise
            raise InvalidStore(
                f"{self._objects.address(name)} is damaged or not ours: delete it and run again "
                f"({' '.join(str(error).split())})"
            ) from error

    def write_failure(self, failure: Failure) -> None:
        """Keep a failed attempt."""
        self._failures.write(failure)

    def failures(self) -> Iterator[Failure]:
        """The failed attempts that no pardon forgives, in no order."""
        return self._failures.standing()

    def pardon(self, attempt_ids: Iterable[str], *, kind: str | None = None) -> None:
        """Let the failures of these attempts count no longer. `kind` is kept as the reason: the
        kind of failure that was asked for, None for all."""
        self._failures.pardon(attempt_ids, kind=kind)

    def put_json(self, name: str, document: Mapping[str, Any], *, create: bool = False) -> bool:
        """Write a JSON object. With `create`, False if the name is taken, which stays as it is."""
        return documents.write(self._objects, name, document, create=create)

    def read_json(self, name: str) -> dict[str, Any] | None:
        """A JSON object, None if there is none of that name. InvalidStore for anything else."""
        return documents.read(self._objects, name)

    def publish(self, name: str, data: bytes) -> str:
        """Write or replace an object that is made from the assets; returns its address."""
        return self._objects.publish(name, data)

    def write_checkpoint(self, asset_id: str, data: bytes) -> None:
        """Keep an asset that is half made, in the place of an earlier checkpoint of it."""
        self._objects.publish(checkpoint_name(asset_id), seal(data))

    def read_checkpoint(self, asset_id: str) -> bytes | None:
        """What was last written, None if there is nothing; a damaged one counts as none."""
        name = checkpoint_name(asset_id)
        data = self._objects.read(name)
        payload = unseal(data)
        if data is not None and payload is None:
            _LOG.warning("%s is damaged and is left out", self._objects.address(name))
        return payload

    def remove_checkpoint(self, asset_id: str) -> None:
        """Delete the checkpoint of an asset, if there is one."""
        self._objects.remove(checkpoint_name(asset_id))

    def checkpointed(self) -> set[str]:
        """The ids of assets that have a checkpoint: one listing."""
        found = map(_CHECKPOINT_FILE.fullmatch, self._objects.names("_checkpoints"))
        return {match[1] for match in found if match}

    def checkpoints(self) -> dict[str, Entry]:
        """The same with their sizes and ages; asks a local disk for each."""
        found = self._objects.entries("_checkpoints").items()
        matches = ((_CHECKPOINT_FILE.fullmatch(name), entry) for name, entry in found)
        return {match[1]: entry for match, entry in matches if match}

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
        objects = self._objects.within(_OPENING_SECONDS)
        try:
            return any(map(objects.exists, (_SCHEMA_NAME, "_runs", "assets")))
        except OSError as error:
            raise places.one_line(f"cannot read {self.url}", error) from error


def checkpoint_name(asset_id: str) -> str:
    """Where a checkpoint lies, relative to its dataset."""
    return f"_checkpoints/{asset_id}.sealed"
