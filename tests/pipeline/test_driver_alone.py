"""Runs that need no actor, in this process and without Ray."""

import io
import os
import time
from pathlib import Path

import pytest

from pipeline import driver, exit_codes
from pipeline.dataset.lease import Lease
from pipeline.errors import RunError, UserError
from pipeline.fleet.cluster import Cluster
from pipeline.metrics import JobMetrics
from pipeline.run.job import prepare
from pipeline.run.report import start
from pipeline.settings import RunSettings
from pipeline.store import Store
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
    first = said(settings)
    assert "0 committed, 0 quarantined, 2 rejected" in first
    assert first.endswith(
        f"no row of {settings.manifest} can be used: 2 rows are rejected, which `dreambatch "
        "validate` lists; the first: row 0 is rejected: prompt is empty\n"
    )
    assert not litter.exists()
    assert len(list((Path(settings.output) / "_rejected").iterdir())) == 1


def test_a_cluster_that_starts_from_zero_wants_a_number(
    settings: RunSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cluster, "connect", lambda self: None)
    monkeypatch.setattr(Cluster, "has_machines", False)
    with pytest.raises(UserError, match="--gpus: the cluster has no machine"):
        driver.run(settings, stream=io.StringIO())
    assert not Path(settings.output).exists()


def test_more_gpus_than_our_machine_has_leave_nothing(
    settings: RunSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cluster, "connect", lambda self: None)
    monkeypatch.setattr(Cluster, "has_machines", True)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(Cluster, "num_gpus", 1)
    with pytest.raises(UserError, match="--gpus 2: this machine has 1"):
        driver.run(but(settings, gpus=2), stream=io.StringIO())
    assert not Path(settings.output).exists()


def test_an_output_that_another_run_works_on(
    settings: RunSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cluster, "connect", lambda self: None)
    monkeypatch.setattr(Cluster, "has_machines", True)
    job = prepare(settings, has_gpus=lambda: False)
    lease = Lease.acquire(job.store.objects, holder="the-other-run", share=False)
    try:
        with pytest.raises(RunError, match=r"the-other-run .*--share"):
            driver.run(settings, stream=io.StringIO())
    finally:
        lease.release()
    assert not (Path(settings.output) / "_runs").exists()


def broken(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """A run ends early with an error, and its store is out of reach by then."""

    def fail(*_: object) -> None:
        raise error

    def refuse(*_: object) -> None:
        raise OSError(5, "Service Unavailable")

    monkeypatch.setattr(Cluster, "connect", lambda self: None)
    monkeypatch.setattr(Cluster, "has_machines", True)
    monkeypatch.setattr(Cluster, "num_gpus", 0)
    monkeypatch.setattr(driver, "make_recipe", fail)
    monkeypatch.setattr(Store, "finish_run", refuse)


WARNING = "warning: summary.json is not written: Service Unavailable\n"


def test_a_summary_that_is_refused_does_not_hide_why_a_run_failed(
    settings: RunSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch, RunError("the output refuses what is made"))
    stream = io.StringIO()
    with pytest.raises(RunError, match="the output refuses what is made"):
        driver.run(settings, stream=stream)
    assert WARNING in stream.getvalue()


def test_a_summary_that_is_refused_does_not_hide_an_interruption(
    settings: RunSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch, KeyboardInterrupt())
    stream = io.StringIO()
    assert driver.run(settings, stream=stream) == exit_codes.INTERRUPTED
    assert WARNING in stream.getvalue()
    assert "interrupted: at least 0 of 2 assets" in stream.getvalue()


def test_a_run_is_not_done_without_a_summary(
    settings: RunSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch, RunError("this run has nothing to make"))
    write_manifest(Path(settings.manifest), [""])
    with pytest.raises(OSError, match="Service Unavailable"):
        driver.run(settings, stream=io.StringIO())


def test_a_complete_run_that_is_watched_is_not_interrupted_any_more(
    settings: RunSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while a watcher is waited for ends the waiting alone."""
    asked: list[bool] = []

    def interrupt(metrics: JobMetrics) -> None:
        asked.append(metrics.is_watched())
        raise KeyboardInterrupt

    monkeypatch.setattr(JobMetrics, "is_watched", lambda _: True)
    monkeypatch.setattr(JobMetrics, "linger", interrupt)
    write_manifest(Path(settings.manifest), [""])
    said_at_last = said(settings).splitlines()[-1]
    assert asked == [True]
    assert said_at_last == "metrics stay for two more scrapes; Ctrl-C ends now"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"checkpoint_minutes": -1.0}, "--checkpoint-minutes: expected 0 .none. or more, got -1.0"),
        ({"checkpoint_minutes": float("nan")}, "--checkpoint-minutes"),
        ({"hang_minutes": 0.0}, "--hang-minutes: expected more than 0, got 0.0"),
        ({"hang_minutes": float("inf")}, "--hang-minutes"),
    ],
)
def test_minutes_that_make_no_sense(
    settings: RunSettings, change: dict[str, float], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        but(settings, **change).check()
