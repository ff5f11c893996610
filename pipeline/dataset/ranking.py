"""`is_best`: of the assets that differ in nothing but their seed, the one with the best score.

Those assets have prompt, negative prompt, recipe and diffusion model in common. Exactly one of them
is the best as soon as one has a score; before that nobody knows, and it is null. Of equal scores
the lowest seed wins; an asset without a score loses against one with any. An asset that is alone is
the best.
"""

import hashlib
import json

import numpy as np
import pyarrow as pa

from pipeline.dataset.snapshots import to_bytes

COLUMN = "is_best"
_GROUP = ["prompt", "negative_prompt", "recipe_digest", "guidance_digest"]
_QUOTE = json.JSONEncoder().encode


class Ranking:
    """Collects assets, 48 bytes each, and tells the best when all are known."""

    def __init__(self, column: str | None) -> None:
        """`column` holds the score; None: nothing is scored."""
        self._column = column
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, table: pa.Table) -> None:
        """Some rows of the catalog."""
        seeds = table["seed"].fill_null(0).to_numpy()
        self._parts.append((_ids(table), _groups(table), self._scores(table), seeds))

    def verdicts(self) -> "Verdicts":
        """What is best of all that was added."""
        if not self._parts:
            return Verdicts(np.empty(0, "S16"), np.empty(0, bool), np.empty(0, bool))
        ids, groups, scores, seeds = map(np.concatenate, zip(*self._parts, strict=True))
        _, number, size = np.unique(groups, return_inverse=True, return_counts=True)
        is_known = np.zeros(len(size), bool)
        np.logical_or.at(is_known, number, np.isfinite(scores))
        order = np.lexsort((ids, seeds, np.where(np.isfinite(scores), -scores, np.inf), number))
        is_first = np.ones(len(ids), bool)
        is_first[1:] = number[order][1:] != number[order][:-1]
        is_best = np.zeros(len(ids), bool)
        is_best[order] = is_first
        is_unknown = (size[number] > 1) & ~is_known[number]
        by_id = np.argsort(ids, kind="stable")
        return Verdicts(ids[by_id], is_best[by_id], is_unknown[by_id])

    def _scores(self, table: pa.Table) -> np.ndarray:
        if self._column is None or self._column not in table.column_names:
            return np.full(len(table), np.nan)
        return table[self._column].cast(pa.float64()).to_numpy()


class Verdicts:
    """Which assets are the best of theirs."""

    def __init__(self, ids: np.ndarray, is_best: np.ndarray, is_unknown: np.ndarray) -> None:
        self._ids, self._is_best, self._is_unknown = ids, is_best, is_unknown

    def column(self, table: pa.Table) -> pa.Array:
        """`is_best` of assets that were added, in a table's order."""
        places = np.searchsorted(self._ids, _ids(table))
        return pa.array(self._is_best[places], pa.bool_(), mask=self._is_unknown[places])


def _ids(table: pa.Table) -> np.ndarray:
    return to_bytes(table["asset_id"].to_pylist())


def _groups(table: pa.Table) -> np.ndarray:
    """16 bytes of a hash of what the assets of one group have in common."""
    rows = zip(*(table[name].to_pylist() for name in _GROUP), strict=True)
    hashes = (hashlib.sha256(_QUOTE(row).encode()).digest()[:16] for row in rows)
    return np.frombuffer(b"".join(hashes), "S16")
