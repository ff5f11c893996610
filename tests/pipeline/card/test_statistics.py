import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.card import statistics
from pipeline.card.statistics import histogram

NUMBERS = st.lists(st.none() | st.floats(-1e6, 1e6) | st.just(math.nan), max_size=40)


@given(numbers=NUMBERS, num_bins=st.integers(1, 12))
def test_each_number_is_in_one_bin(numbers: list[float | None], num_bins: int) -> None:
    column = pa.chunked_array([pa.array(numbers, pa.float64())])
    known = [x for x in numbers if x is not None and math.isfinite(x)]
    found = histogram(column, num_bins)
    if not known:
        assert found is None
        return
    assert found is not None
    assert found.num_missing == len(numbers) - len(known)
    assert sum(found.counts) == len(known)
    assert len(found.edges) == len(found.counts) + 1
    assert (found.edges[0], found.edges[-1]) == pytest.approx((min(known), max(known)), abs=0.5)
    assert found.mean == pytest.approx(np.mean(known))
    for low, high, n in zip(found.edges, found.edges[1:], found.counts, strict=False):
        is_last = high == found.edges[-1]
        inside = [low <= x < high or (is_last and low <= x <= high) for x in known]
        assert len(found.counts) == 1 or n == sum(inside)


def test_integers_and_one_value_have_a_histogram() -> None:
    found = histogram(pa.chunked_array([pa.array([7, 7, None], pa.int64())]))
    assert found is not None
    assert (list(found.counts), found.mean, found.num_missing) == ([2], 7.0, 1)


def test_scores_are_found_by_their_names(tmp_path: Path) -> None:
    names = ["score_clip_overall", "clip_score", "scores", "underscored", "score_note", "score_hit"]
    values = [[0.1, 0.9], [1, 2], [1.0, 2.0], [1.0, 2.0], ["a", "b"], [True, False]]
    table = pa.table(
        {
            "prompt": ["a", "a"],
            **{name: ["x", "y"] for name in ("recipe", "guidance", "status")},
            "mesh_status": ["ok", None],
            "mesh_faces": pa.array([None, None], pa.int64()),
            "gpu_seconds": [1.5, None],
            **dict(zip(names, values, strict=True)),
        }
    )
    pq.write_table(table, tmp_path / "catalog.parquet")
    found = statistics.read(tmp_path / "catalog.parquet", num_shown=3)
    assert list(found.histograms) == ["gpu_seconds", "score_clip_overall", "clip_score"]
    assert (found.num_assets, found.num_prompts, found.gpu_seconds) == (2, 1, 1.5)
    assert found.values["mesh_status"] == {"None": 1, "ok": 1}
    assert list(found.prompts) == ["a"]
