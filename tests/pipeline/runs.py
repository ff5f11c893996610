"""What the tests of whole runs share: manifests, hollow weights, and `dreambatch` as a process."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from pipeline import supervise
from tests.clusters import ROOT, driver_environment

RUN_SECONDS = 120
LEAVING_SECONDS = 2 * supervise.LEAVING_SECONDS
"""What a run that is told to leave may take here: twice what is promised, for other tests run
beside it."""


def write_manifest(path: Path, prompts: list[str], **columns: list[object]) -> Path:
    """A Parquet manifest of those prompts."""
    pq.write_table(pa.table({"prompt": prompts, **columns}), path)
    return path


def write_hollow_weights(path: Path) -> Path:
    """A directory that passes for a diffusion model as long as nobody loads it."""
    documents = {
        "model_index.json": {},
        "unet/config.json": {"in_channels": 3, "out_channels": 6},
        "text_encoder/config.json": {},
        "tokenizer/tokenizer_config.json": {},
        "tokenizer/tokenizer.json": {},
        "scheduler/scheduler_config.json": {},
    }
    for name, document in documents.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(json.dumps(document))
    (path / "unet/diffusion_pytorch_model.safetensors").write_bytes(b"unet")
    (path / "text_encoder/model.safetensors").write_bytes(b"text")
    return path


def command(*arguments: object, engine: str = "fake") -> list[str]:
    """`dreambatch` with a fake or the real engine, as a command line."""
    module = "tests.pipeline.fake_engine" if engine == "fake" else "pipeline"
    return [sys.executable, "-W", "error", "-m", module, *map(str, arguments)]


def dreambatch(
    *arguments: object, environment: Mapping[str, str] | None = None, engine: str = "fake"
) -> subprocess.CompletedProcess[str]:
    """Runs `dreambatch` to its end in a process of its own."""
    return subprocess.run(
        command(*arguments, engine=engine),
        env=dict(environment or driver_environment()),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )


def rows(output: Path, *columns: str) -> list[dict[str, object]]:
    """The committed assets as others read them, ordered by prompt."""
    if not (output / "assets").exists():
        return []
    table = ds.dataset(output / "assets", partitioning="hive").to_table(
        columns=["prompt", *columns]
    )
    return sorted(table.to_pylist(), key=lambda row: row["prompt"])


def summary(output: Path) -> dict[str, object]:
    """`summary.json` of the newest run."""
    newest = max((output / "_runs").iterdir(), key=lambda run: run.name)
    return json.loads((newest / "summary.json").read_text())


def failures(output: Path) -> list[dict[str, object]]:
    """All records of `_failures/`."""
    return [json.loads(path.read_text()) for path in (output / "_failures").glob("*.json")]
