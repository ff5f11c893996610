"""Scores: what judges say of assets, beside the assets, which never change.

    scores/<digest>/_metric.json    what is measured and how; created once
    scores/<digest>/<name>.parquet  the scores of some assets, keyed by asset_id; created once
    scores/_labels/<label>.json     which metric the columns score_<label>_... of the catalog are of
    scores/_best.json               by which label's overall score the catalog tells the best seed

The digest is that of the judge's weights, of how assets are shown to it and of the pool of captions
in which an asset must find its own: whatever has one digest can be compared. Scores stay valid for
ever. A batch has a name of its own, so that two evaluators at once are harmless: an asset that both
have scored counts once. `_labels` and `_best` are written when an evaluation has come to its end;
one that was killed leaves what it has, and the next goes on from there.

`gc` deletes nothing here. Memory for reading: some 100 bytes an asset and label.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset import documents
from pipeline.dataset.asset_table import to_parquet_bytes
from pipeline.dataset.snapshots import to_bytes
from pipeline.errors import InvalidStore
from pipeline.records import Document, now
from pipeline.storage.damage import is_damage
from pipeline.storage.objects import Objects

DIRECTORY = "scores"
PREFIX = "score_"

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Metric(Document):
    """`_metric.json`. `judge` is a judge by its name and `kind` its sort ("clip", "embedded");
    `protocol` says how assets are shown to it and what the scores mean; `captions` is the pool."""

    label: str
    kind: str
    judge: str
    weights_digest: str
    protocol: Mapping[str, Any]
    captions: list[str]
    is_given: bool = False
    """Whether the user gave the pool; else it is of the dataset's own prompts."""
    created_at: str = field(default_factory=lambda: now())

    @property
    def looks_digest(self) -> str:
        """sha256 of what decides what the judge sees, whatever the pool."""
        return _digest([self.kind, self.weights_digest, self.protocol])

    @property
    def digest(self) -> str:
        """The metric's name: 32 hex digits."""
        return _digest([self.looks_digest, sorted(self.captions)])[:32]


class Scores:
    """The scores of one dataset."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def claim(self, metric: Metric) -> Metric:
        """Begin a metric, or go on with it: what was first written under its digest."""
        name = _metric_name(metric.digest)
        if documents.write(self._objects, name, metric.to_dict(), create=True):
            return metric
        found = documents.read_record(self._objects, name, Metric)
        assert found is not None, name
        return found

    def metrics(self) -> list[Metric]:
        """All metrics, newest first; one that is damaged is named and left out."""
        names = [x for x in self._objects.names(DIRECTORY) if not x.startswith("_")]
        found = [x for x in map(self._metric, names) if x is not None]
        return sorted(found, key=lambda x: (x.created_at, x.digest), reverse=True)

    def write(self, metric: Metric, rows: pa.Table) -> None:
        """Keep the scores of some assets: a table with `asset_id`."""
        name = f"{DIRECTORY}/{metric.digest}/{uuid4().hex}.parquet"
        if not self._objects.create(name, to_parquet_bytes(rows)):
            assert self._objects.exists(name), name  # the answer to our own request was lost

    def read(self, metric: Metric, columns: list[str]) -> Iterator[pa.Table]:
        """Some columns of all scores of a metric, file by file; an asset may occur twice. Damaged
        files are named and left out."""
        directory = f"{DIRECTORY}/{metric.digest}"
        names = [x for x in sorted(self._objects.names(directory)) if x.endswith(".parquet")]
        paths = [f"{directory}/{name}" for name in names]
        for table in self._objects.map(lambda path: self._table(path, columns), paths):
            if table is not None:
                yield table

    def columns(self, metric: Metric) -> list[str]:
        """The names of the score columns of a metric; [] before anything is scored."""
        directory = f"{DIRECTORY}/{metric.digest}"
        for name in sorted(self._objects.names(directory)):
            table = self._table(f"{directory}/{name}", None) if name.endswith(".parquet") else None
            names = table.column_names if table is not None else []
            found = [column for column in names if column.startswith(PREFIX)]
            if found:
                return found
        return []

    def scored(self, metric: Metric) -> np.ndarray:
        """The ids of the assets that have scores, 16 bytes each, sorted."""
        tables = self.read(metric, ["asset_id"])
        ids = [to_bytes(table["asset_id"].to_pylist()) for table in tables]
        return np.unique(np.concatenate(ids)) if ids else np.empty(0, "S16")

    def publish(self, metric: Metric) -> None:
        """Let the catalog's columns of the metric's label be of this metric."""
        name = f"{DIRECTORY}/_labels/{metric.label}.json"
        documents.write(self._objects, name, {"metric": metric.digest}, create=False)

    def published(self) -> list[Metric]:
        """The metrics of all labels, sorted by label."""
        found: list[Metric] = []
        for name in sorted(self._objects.names(f"{DIRECTORY}/_labels")):
            digest = self._said(f"_labels/{name}", "metric")
            metric = None if digest is None else self._metric(digest)
            if metric is not None:
                found.append(metric)
        return found

    def choose_best_by(self, label: str) -> None:
        """Let the catalog's `is_best` follow the overall score of a label."""
        document = {"label": label, "column": overall_column(label)}
        documents.write(self._objects, f"{DIRECTORY}/_best.json", document, create=False)

    def best_by(self) -> str | None:
        """The column that `is_best` follows; None before an evaluation has come to its end."""
        return self._said("_best.json", "column")

    def _metric(self, digest: str) -> Metric | None:
        try:
            return documents.read_record(self._objects, _metric_name(digest), Metric)
        except InvalidStore as error:
            _LOG.warning("scores are left out: %s", error)
            return None

    def _said(self, name: str, key: str) -> str | None:
        try:
            document = documents.read(self._objects, f"{DIRECTORY}/{name}") or {}
        except InvalidStore as error:
            _LOG.warning("scores are left out: %s", error)
            return None
        value = document.get(key)
        return value if isinstance(value, str) else None

    def _table(self, path: str, columns: list[str] | None) -> pa.Table | None:
        try:
            with self._objects.open(path) as stream:
                file = pq.ParquetFile(stream, page_checksum_verification=True)
                if columns is None:
                    return file.schema_arrow.empty_table()
                return file.read(columns).select(columns)  # `read` passes over missing ones
        except (pa.ArrowException, OSError, KeyError) as error:
            if not isinstance(error, KeyError) and not is_damage(error):
                raise
            address = self._objects.address(path)
            _LOG.warning("scores are left out: %s is damaged, delete it (%s)", address, error)
            return None


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """The score columns of one metric, sorted by id, for joining."""

    ids: np.ndarray
    columns: pa.Table

    @classmethod
    def of(cls, scores: Scores, metric: Metric) -> "ScoreTable":
        """All scores of a metric; of an asset that was scored twice, one row."""
        names = scores.columns(metric)
        tables = list(scores.read(metric, ["asset_id", *names])) if names else []
        if not tables:
            return cls(ids=np.empty(0, "S16"), columns=pa.table({}))
        whole = pa.concat_tables(tables, promote_options="permissive")
        ids, first = np.unique(to_bytes(whole["asset_id"].to_pylist()), return_index=True)
        return cls(ids=ids, columns=whole.select(names).take(pa.array(first)).combine_chunks())

    def join(self, table: pa.Table) -> pa.Table:
        """The table with the score columns of its assets, null where there are none."""
        wanted = to_bytes(table["asset_id"].to_pylist())
        places = np.searchsorted(self.ids, wanted)
        inside = np.minimum(places, max(len(self.ids) - 1, 0))
        is_there = self.ids[inside] == wanted if len(self.ids) else np.zeros(len(wanted), bool)
        rows = pa.array(inside, pa.int64(), mask=~is_there)
        for name in self.columns.column_names:
            table = table.append_column(name, self.columns[name].take(rows))
        return table


def score_tables(objects: Objects) -> list[ScoreTable]:
    """What the catalog joins."""
    scores = Scores(objects)
    return [ScoreTable.of(scores, metric) for metric in scores.published()]


def overall_column(label: str) -> str:
    """The score by which the assets of one prompt are compared."""
    return f"{PREFIX}{label}_overall"


def _metric_name(digest: str) -> str:
    return f"{DIRECTORY}/{digest}/_metric.json"


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
