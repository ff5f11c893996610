"""How long it takes to plan a run that goes on, and in how much memory.

    python -m pipeline.planning_bench --rows 1000000 --committed 500000

makes a manifest of prompts of some 60 characters with two carried columns, and an output on the
local disk in which the assets of the first rows lie already (as empty files: planning reads names
alone), some more are quarantined, and the rest is to be made. Then it prepares the run in a process
of its own, as `dreambatch run` does before the first actor starts: imports, reading and checking
the manifest, naming its assets, listing the committed ones, subtracting.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from pipeline.memory import peak_bytes

if TYPE_CHECKING:
    from pipeline.run.job import Job

_NUM_SHARDS = 256
_PAGE = 1000
"""Names that Google Cloud Storage and S3 give in one answer."""

_WORDS = ("red", "blue", "green", "yellow", "white", "purple", "chair", "table", "lamp", "mushroom")


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What was measured. `seconds` and `peak_bytes` are of the whole process; `num_list_calls`
    is what listing the committed assets would take on gs:// or s3://."""

    num_rows: int
    num_planned: int
    num_committed: int
    num_quarantined: int
    num_rejected: int
    seconds: float
    peak_bytes: int
    num_list_calls: int


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure the planning of a large run."""

    rows: int = 1_000_000
    """Rows of the manifest."""
    committed: int = 500_000
    """Assets that are committed already."""
    quarantined: int = 1_000
    """Assets that were given up."""
    directory: Path | None = None
    """Where to put manifest and output. Default: a temporary directory, deleted afterwards."""


def measure(options: Options) -> Figures:
    """Makes manifest and output under `options.directory`, then plans them in a new process."""
    if options.directory is None:
        with tempfile.TemporaryDirectory(prefix="planning-") as directory:
            return measure(Options(**{**asdict(options), "directory": Path(directory)}))
    arguments = [options.rows, options.committed, options.quarantined, options.directory]
    _python("make", *arguments)
    began = time.perf_counter()
    counts = json.loads(_python("plan", options.directory))
    seconds = time.perf_counter() - began
    pages = max(1, math.ceil(options.committed / _NUM_SHARDS / _PAGE))
    return Figures(
        **counts, num_rows=options.rows, seconds=seconds, num_list_calls=_NUM_SHARDS * pages
    )


def render(figures: Figures) -> str:
    """The figures as lines."""
    return "\n".join(
        [
            f"{figures.num_rows:,} rows: {figures.num_planned:,} to make, "
            f"{figures.num_committed:,} committed, {figures.num_quarantined:,} quarantined, "
            f"{figures.num_rejected:,} rejected",
            f"{figures.seconds:.1f} s, {1e6 * figures.seconds / figures.num_rows:.1f} us a row, "
            f"peak memory {figures.peak_bytes / 2**20:,.0f} MiB",
            f"list calls for the committed assets on gs:// or s3://: {figures.num_list_calls:,} "
            f"({_NUM_SHARDS} prefixes, {_PAGE:,} names a page, in parallel)",
        ]
    )


def _python(*arguments: object) -> str:
    command = [sys.executable, "-m", "pipeline.planning_bench", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _make(num_rows: int, num_committed: int, num_quarantined: int, directory: Path) -> None:
    """Writes the manifest, and an output that holds its first assets."""
    _write_manifest(num_rows, directory / "manifest.parquet")
    from pipeline.records import Failure
    from pipeline.store import Store

    tasks = iter(_job(directory).plan.tasks)
    assets = directory / "out" / "assets"
    for number in range(_NUM_SHARDS):
        (assets / f"shard=x{number:02x}").mkdir(parents=True)
    for task in islice(tasks, num_committed):
        name = assets / f"shard=x{task.asset_id[:2]}" / f"{task.asset_id}.parquet"
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
    store = Store.open(str(directory / "out"), create=True)
    for task in islice(tasks, num_quarantined):
        failure = Failure(
            asset_id=task.asset_id,
            attempt_id=task.asset_id,
            prompt_id=task.prompt.prompt_id,
            prompt=task.prompt.prompt,
            error_kind="diverged",
            message="the density became NaN",
            attempts=3,
            quarantined=True,
        )
        store.write_failure(failure)


def _write_manifest(num_rows: int, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("prompt", pa.string()), ("source", pa.string()), ("weight", pa.float64())])
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, num_rows, 100_000):
            numbers = range(first, min(num_rows, first + 100_000))
            columns = [
                pa.array(map(_prompt, numbers)),
                pa.array(f"collection {number % 7}" for number in numbers),
                pa.array(number / 7 for number in numbers),
            ]
            writer.write_table(pa.table(columns, schema=schema))


def _prompt(number: int) -> str:
    """Some 60 characters that no other row has."""
    words = [_WORDS[number // 10**place % 10] for place in range(7)]
    return f"a {' '.join(words)} number {number}"


def _plan(directory: Path) -> Iterator[tuple[str, int]]:
    """What a run prepares, counted, and the most memory that it took."""
    plan = _job(directory).plan
    yield "num_planned", len(plan.tasks)
    yield "num_committed", plan.num_committed
    yield "num_quarantined", plan.num_quarantined
    yield "num_rejected", len(plan.rejections)
    yield "peak_bytes", peak_bytes()


def _job(directory: Path) -> "Job":
    from pipeline.run.job import prepare
    from pipeline.settings import RunSettings

    settings = RunSettings(
        manifest=str(directory / "manifest.parquet"),
        output=str(directory / "out"),
        recipe="primitives",
    )
    return prepare(settings, has_gpus=lambda: False)


def _main(arguments: list[str]) -> None:
    match arguments:
        case ["make", rows, committed, quarantined, directory]:
            _make(int(rows), int(committed), int(quarantined), Path(directory))
        case ["plan", directory]:
            print(json.dumps(dict(_plan(Path(directory)))))
        case _:
            options = tyro.cli(Options, args=arguments, prog="python -m pipeline.planning_bench")
            print(render(measure(options)))


if __name__ == "__main__":
    _main(sys.argv[1:])
