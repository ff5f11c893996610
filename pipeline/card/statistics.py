"""What a dataset card counts: the catalog read column by column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

NUM_BINS = 10

_COUNTED = ("recipe", "guidance", "status", "mesh_status")
_MEASURED = ("mesh_faces", "gpu_seconds")


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """How many values lie in each of some bins; the last bin holds its upper edge, too."""

    counts: Sequence[int]
    edges: Sequence[float]
    mean: float
    num_missing: int


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Counts of a catalog. `values` says how often each value of some columns occurs, `histograms`
    how numbers spread; `prompts` are some of the prompts."""

    num_assets: int
    num_prompts: int
    gpu_seconds: float
    prompts: Sequence[str]
    values: Mapping[str, Mapping[str, int]]
    histograms: Mapping[str, Histogram]


def read(path: Path, *, num_shown: int) -> Statistics:
    """The statistics of a catalog on this machine, with up to `num_shown` different prompts."""
    schema = pq.read_schema(path)
    prompts = _column(path, "prompt").unique()
    measured = [*_MEASURED, *(x.name for x in schema if _is_score(x))]
    histograms = {name: histogram(_column(path, name)) for name in measured}
    return Statistics(
        num_assets=pq.read_metadata(path).num_rows,
        num_prompts=len(prompts),
        gpu_seconds=float(np.nansum(_numbers(_column(path, "gpu_seconds")))),
        prompts=prompts[:num_shown].to_pylist(),
        values={name: _counts(_column(path, name)) for name in _COUNTED},
        histograms={name: found for name, found in histograms.items() if found is not None},
    )


def histogram(column: pa.ChunkedArray, num_bins: int = NUM_BINS) -> Histogram | None:
    """How finite numbers spread between the least and the greatest; None if there are none."""
    numbers = _numbers(column)
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return None
    num_bins = num_bins if numbers.min() < numbers.max() else 1
    counts, edges = np.histogram(numbers, num_bins, (numbers.min(), numbers.max()))
    return Histogram(
        counts=counts.tolist(),
        edges=edges.tolist(),
        mean=float(numbers.mean()),
        num_missing=len(column) - len(numbers),
    )


def _column(path: Path, name: str) -> pa.ChunkedArray:
    return pq.read_table(path, columns=[name])[name]


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    return column.drop_null().to_numpy().astype(np.float64)


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    """How often each value occurs, the most frequent first."""
    found = ((str(x["values"]), x["counts"].as_py()) for x in column.value_counts())
    return dict(sorted(found, key=lambda item: (-item[1], item[0])))


def _is_score(field: pa.Field) -> bool:
    is_number = pa.types.is_floating(field.type) or pa.types.is_integer(field.type)
    return is_number and "score" in field.name.split("_")
