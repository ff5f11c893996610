"""Runs that need no actor, in this process and without Ray."""

import io
import os
import time
from pathlib import Path

import pytest

from pipeline import driver, exit_codes
from pipeline.cluster import Cluster
from pipeline.errors import UserError
from pipeline.job import prepare
from pipeline.report import start
from pipeline.settings import RunSettings
from tests.pipeline.runs import write_hollow_weights, write_manifest
from tests.pipeline.sample_assets import sample_bytes


@pytest.fixture
def settings(tmp_path: Path) -> RunSettings:
    """Two prompts and an output that is not there yet."""
    return RunSettings(
        manifest=str(write_manifest(tmp_path / "m.parquet", ["a ball", "a cube"])),
        output=str(tmp_path / "out"),
        guidance=str(write_hollow_weights(tmp_path / "weights")),
        recipe="smoke",
        metrics_port=0,
    )


def but(settings: RunSettings, **changes: object) -> RunSettings:
    return RunSettings(**{**vars(settings), **changes})


def said(settings: RunSettings) -> str:
    stream = io.StringIO()
    assert driver.run(settings, stream=stream) == exit_codes.COMPLETE
    return stream.getvalue()


def test_a_part_of_a_killed_run_does_not_end_it(settings: RunSettings) -> None:
    job = prepare(settings, has_gpus=lambda: False)
    job.store.claim_schema(job.carried)
    job.store.start_run(start(job, "run-1", num_actors=1))
    ball, cube = job.plan.tasks
    job.store.commit(ball.asset_id, sample_bytes(ball))
    assert said(but(settings, limit=1)).startswith("nothing to do: 1 committed")
    assert job.store.read_summary("run-1") is None, "a cube is still to be made"
    job.store.commit(cube.asset_id, sample_bytes(cube))
    assert said(settings).startswith("nothing to do: 2 committed")
    summary = job.store.read_summary("run-1")
    assert summary is not None
    assert (summary.num_committed, summary.num_remaining) == (2, 0)


def test_a_run_without_prompts_keeps_the_reasons_and_clears_up(settings: RunSettings) -> None:
    write_manifest(Path(settings.manifest), ["", ""])
    litter = Path(settings.output) / "assets" / "shard=x00" / ".left.parquet.0.tmp"
    litter.parent.mkdir(parents=True)
    litter.write_bytes(b"half")
    long_ago = time.time() - 7200
    os.utime(litter, (long_ago, long_ago))
    assert "0 committed, 0 quarantined, 2 rejected" in said(settings)
    assert not litter.exists()
    assert len(list((Path(settings.output) / "_rejected").iterdir())) == 1


def test_a_cluster_that_starts_from_zero_wants_a_number(
    settings: RunSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cluster, "connect", lambda self: None)
    monkeypatch.setattr(Cluster, "has_machines", False)
    with pytest.raises(UserError, match="--gpus: the cluster has no machine"):
        driver.run(settings, stream=io.StringIO())
    assert not [path for path in Path(settings.output).rglob("*") if path.is_file()]
