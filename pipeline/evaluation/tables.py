"""The figures of an evaluation, from the scores that are kept, and their table.

Quantiles are of all assets that have the score. The R-Precision's chance level is one part in the
size of the pool. In the embedded world the benchmark's own figures follow, of all, by family and by
kind (`engine.evaluation.report`); there 300 bytes an asset are held for them.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
import pyarrow as pa

from pipeline.dataset.scores import Metric, Scores
from pipeline.dataset.snapshots import to_bytes
from pipeline.evaluation.rows import HITS, SHARES, Columns
from pipeline.run.progress import shorten

QUANTILES = (0.05, 0.5, 0.95)

_SAID = {
    "r_precision": "R-Precision",
    "geometry_r_precision": "R-Precision, geometry",
    "r_precision_64": "R-Precision among 64",
    "kind": "kind right",
    "colours": "colours right per asset",
}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one judge did: assets newly looked at, judged again by what was kept of them, scored
    before, whose prompts the judge does not understand (and the first of these prompts), and that
    could not be read."""

    metric: Metric
    pool_size: int
    num_new: int
    num_again: int
    num_before: int
    num_foreign: int
    first_foreign: str
    num_unreadable: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """All scores of a metric: ids, values by the score's name, NaN where there is none, and the
    benchmark's figures as a table, behind what its heads mean, where there are any."""

    measured: Measured
    ids: np.ndarray
    values: Mapping[str, np.ndarray] = field(default_factory=dict)
    by_kind: str = ""

    @property
    def title(self) -> str:
        """The judge, and what it judged."""
        metric = self.measured.metric
        return (
            f"{metric.label}: judge {metric.judge} (weights {metric.weights_digest[:12]}), "
            f"{len(self.ids):,} assets, {self.measured.pool_size:,} captions"
        )


def said(score: str) -> str:
    """A score's name for people."""
    return _SAID.get(score, score.replace("_", " "))


def summarise(scores: Scores, measured: Measured) -> Summary:
    """Reads all scores of a metric."""
    metric = measured.metric
    columns = Columns(label=metric.label, kind=metric.kind)
    names = [x for x in (*SHARES, *HITS) if columns.name(x) in columns.schema.names]
    beside = [x for x in columns.schema.names if not x.startswith("embedding_")]
    ids, values = np.empty(0, "S16"), {name: np.empty(0) for name in names}
    verdicts = []
    for table in scores.read(metric, beside):
        table = _new(table, ids)
        ids = np.concatenate([ids, to_bytes(table["asset_id"].to_pylist())])
        for name in names:
            column = table[columns.name(name)].cast(pa.float64()).to_numpy()
            values[name] = np.concatenate([values[name], column])
        if metric.kind == "embedded":
            verdicts += columns.verdicts(table)
    return Summary(
        measured=measured,
        ids=ids,
        values=values,
        by_kind=_by_kind(verdicts) if verdicts else "",
    )


def render(summary: Summary) -> str:
    """The figures as text, under their title."""
    return "\n".join([summary.title, *(f"  {line}".rstrip() for line in figures(summary))])


def figures(summary: Summary) -> list[str]:
    """The figures as lines of text."""
    lines = [_counts(summary.measured)]
    rows = [["", "n", "mean", *(f"{100 * q:.0f} %" for q in QUANTILES), ""]]
    for name, values in summary.values.items():
        there = values[np.isfinite(values)]
        if not len(there):
            continue
        row = [said(name), f"{len(there):,}", f"{there.mean():.3f}"]
        if name in SHARES:
            row += [f"{value:.3f}" for value in np.quantile(there, QUANTILES)]
        rows.append([*row, *[""] * (5 - len(row) + 1), chance(name, summary)])
    if len(rows) == 1:
        return lines
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *map(str.rjust, row[1:-1], widths[1:-1]), row[-1]]
        lines.append("  ".join(cells).rstrip())
    return [*lines, "", *summary.by_kind.splitlines()] if summary.by_kind else lines


def chance(name: str, summary: Summary) -> str:
    """What guessing would reach, in words; nothing where that is not plain."""
    from engine.primitives.grammar import geometries

    sizes = {"r_precision": summary.measured.pool_size, "r_precision_64": 64}
    is_embedded = summary.measured.metric.kind == "embedded"
    shapes = len(geometries()) if is_embedded else summary.measured.pool_size
    sizes["geometry_r_precision"] = shapes
    return f"(by chance {1 / sizes[name]:.3f})" if sizes.get(name, 0) > 1 else ""


def _counts(measured: Measured) -> str:
    counts = [
        f"{measured.num_new:,} newly scored",
        f"{measured.num_before:,} before" if measured.num_before else "",
        f"{measured.num_again:,} judged again in this pool" if measured.num_again else "",
        _foreign(measured),
        f"{measured.num_unreadable:,} could not be read" if measured.num_unreadable else "",
    ]
    return ", ".join(filter(None, counts))


def _foreign(measured: Measured) -> str:
    if not measured.num_foreign:
        return ""
    first = shorten(measured.first_foreign)
    return f"{measured.num_foreign:,} with prompts that it does not understand, such as {first!r}"


def _by_kind(verdicts: list) -> str:
    from engine.evaluation.report import grouped, legend, table
    from engine.evaluation.verdict import figures as shares

    groups = grouped(verdicts, lambda verdict: verdict.spec)
    rows = {name: asdict(shares(group)) for name, group in groups.items()}
    title = "shares of all, of each family of prompts and of each kind of object, where"
    return f"{title}\n{legend(rows)}\n\n{table(rows)}"


def _new(table: pa.Table, known: np.ndarray) -> pa.Table:
    """The rows of assets that are not known yet, each once."""
    ids = to_bytes(table["asset_id"].to_pylist())
    first = np.zeros(len(ids), bool)
    first[np.unique(ids, return_index=True)[1]] = True
    return table.filter(pa.array(first & ~np.isin(ids, known)))
