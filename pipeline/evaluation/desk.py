"""The desk at which the assets of a dataset go past one judge.

    field ─▶ pictures ─▶ embeddings ─▶ scores ─▶ scores/<digest>/

`_AT_ONCE` assets are in memory. What is scored is written every `_FLUSH_ROWS` assets or
`_FLUSH_SECONDS`; that much a kill costs. Assets that cannot be read are named and left out. For a
pool that has grown, assets that this judge has seen are judged again by the embeddings that are
kept of them, without a look at the assets.
"""

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline.dataset import catalog
from pipeline.dataset.scores import Metric, Scores
from pipeline.dataset.snapshots import to_bytes
from pipeline.evaluation.rows import HITS, LOOKS, SHARES, Columns
from pipeline.metrics import JobMetrics
from pipeline.store import Store

if TYPE_CHECKING:
    from engine.evaluation.examiners import Examiner, Looks
    from engine.evaluation.stage import Staged

_LOG = logging.getLogger(__name__)
_AT_ONCE = 16
_FLUSH_ROWS = 1024
_FLUSH_SECONDS = 120.0
_COLUMNS = [
    "asset_id",
    "prompt",
    "field",
    "views.list.element.radius",
    "views.list.element.fl_x",
    "views.list.element.w",
]

Say = Callable[[str], None]


class Desk:
    """Where the assets of a dataset go past one judge."""

    def __init__(
        self,
        store: Store,
        scores: Scores,
        metric: Metric,
        examiner: "Examiner",
        metrics: JobMetrics,
        say: Say,
    ) -> None:
        self._store, self._scores, self._metric, self._say = store, scores, metric, say
        self._examiner, self._metrics = examiner, metrics
        self._columns = Columns(label=metric.label, kind=metric.kind)
        self._held: list[pa.Table] = []
        self._flushed = time.monotonic()
        self.scored = scores.scored(metric)
        self.num_new, self.num_wanted, self.num_foreign = 0, 0, 0
        self.first_foreign = ""
        """A prompt that the judge does not understand, if there is one."""
        self._series = {
            name: f"{metric.label}_{score}"
            for score in (*SHARES, *HITS)
            if (name := self._columns.name(score)) in self._columns.schema.names
        }
        """By column, under which name its values are in the metrics."""
        for series in self._series.values():
            metrics.declare("asset_score", score=series)

    def judge_again(self) -> int:
        """Scores, in this pool, what the same judge has seen for another one; returns how many."""
        known, num_again = self.scored, 0
        for other in self._scores.metrics():
            if other.looks_digest != self._metric.looks_digest or other == self._metric:
                continue
            columns = Columns(label=other.label, kind=other.kind)
            names = ["asset_id", "prompt", *LOOKS, columns.name("janus")]
            seen = [known]
            # Of one metric an asset is there once, but for two evaluators at a time; what both
            # wrote is judged twice, and read once.
            for table in self._scores.read(other, names):
                table = _without(table, known)
                if len(table):
                    ids = table["asset_id"].to_pylist()
                    self._keep(ids, table["prompt"].to_pylist(), columns.looks(table))
                    seen.append(to_bytes(ids))
                    num_again += len(table)
                    if self._is_due():
                        self._flush()
            known = np.unique(np.concatenate(seen))
        self._flush()
        self.scored = known
        return num_again

    def look(self) -> None:
        """Scores all assets that have no scores yet."""
        wanted = self._wanted()
        while some := list(itertools.islice(wanted, _AT_ONCE)):
            shown = list(self._shown(some))
            if shown:
                ids, prompts, staged = map(list, zip(*shown, strict=True))
                self._keep(ids, prompts, self._examiner.look(_together(staged)))
                self.num_new += len(ids)
            if self._is_due():
                self._flush()
                self._say(f"{self._metric.label}: {self.num_new:,} assets scored")
        self._flush()

    def _wanted(self) -> Iterator[str]:
        """The ids of assets without scores whose prompts the judge understands."""
        for rows in catalog.rows(self._store, with_scores=False):
            rows = _without(rows.select(["asset_id", "prompt"]), self.scored)
            for row in rows.to_pylist():
                if self._examiner.takes(row["prompt"]):
                    self.num_wanted += 1
                    yield row["asset_id"]
                else:
                    self.num_foreign += 1
                    self.first_foreign = self.first_foreign or row["prompt"]

    def _shown(self, asset_ids: list[str]) -> Iterator[tuple[str, str, "Staged"]]:
        """Id, prompt and pictures of the assets that can be shown."""
        for table in catalog.readable(self._store, asset_ids, "not evaluated", _COLUMNS):
            (row,) = table.to_pylist()
            try:
                yield row["asset_id"], row["prompt"], _show(self._examiner, row)
            except ValueError as error:
                _LOG.warning("not evaluated: asset %s: %s", row["asset_id"], error)

    def _keep(self, ids: list[str], prompts: list[str], looks: "Looks") -> None:
        found = self._examiner.judge(looks, prompts, self._metric.captions)
        table = self._columns.table(ids, prompts, looks, found)
        self._held.append(table)
        for name, series in self._series.items():
            for value in table[name].drop_null().to_pylist():
                self._metrics.observe("asset_score", value, score=series)

    def _is_due(self) -> bool:
        is_late = time.monotonic() - self._flushed >= _FLUSH_SECONDS
        return is_late or sum(map(len, self._held)) >= _FLUSH_ROWS

    def _flush(self) -> None:
        if self._held:
            self._scores.write(self._metric, pa.concat_tables(self._held))
            self._held.clear()
        self._flushed = time.monotonic()


def _show(examiner: "Examiner", row: dict[str, Any]) -> "Staged":
    """An asset on the judge's stage. ValueError where there is no field, or none that is finite."""
    from engine.evaluation.stage import EMBEDDED, show_scenes
    from engine.hardware import usual_device
    from engine.scene import Scene

    if row["field"] is None:
        raise ValueError("it has no field")
    scene = Scene.from_bytes(row["field"]).to(usual_device())
    radius, fov_deg = EMBEDDED.radius, EMBEDDED.fov_deg
    if row["views"]:
        view = row["views"][0]
        radius = view["radius"]
        fov_deg = math.degrees(2.0 * math.atan(0.5 * view["w"] / view["fl_x"]))
    return show_scenes([scene], examiner.stage(radius, fov_deg))


def _together(staged: list["Staged"]) -> "Staged":
    import torch

    from engine.evaluation.stage import Staged

    return Staged(
        colour=torch.cat([one.colour for one in staged]),
        geometry=torch.cat([one.geometry for one in staged]),
        is_there=torch.cat([one.is_there for one in staged]),
    )


def _without(table: pa.Table, ids: np.ndarray) -> pa.Table:
    """The rows of assets that are not among some."""
    return table.filter(pa.array(~np.isin(to_bytes(table["asset_id"].to_pylist()), ids)))
