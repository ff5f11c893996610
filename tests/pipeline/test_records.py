import pickle
from typing import Any

import pytest

from engine.configs.losses import LossConfig
from pipeline.records import Document, Failure, Outcome, RunSummary, new_attempt_id, new_run_id
from tests.pipeline.sample_assets import sample_run, sample_task

FAILURE = Failure(
    asset_id="a" * 32,
    attempt_id="b" * 32,
    prompt_id="x",
    prompt="a ball",
    error_kind="diverged",
    message="loss is nan",
    attempts=2,
    quarantined=False,
)
SUMMARY = RunSummary(
    run_id="run-1",
    exit_code=3,
    num_committed=2,
    num_duplicate=0,
    num_failed_attempts=4,
    num_quarantined=1,
    num_rejected=1,
    num_remaining=0,
    gpu_seconds=12.5,
    wall_seconds=3.0,
    bytes_written=1_500_000,
)


@pytest.mark.parametrize("record", [FAILURE, SUMMARY, sample_run()])
def test_documents_survive_a_round_trip_and_another_versions_keys(record: Document) -> None:
    document: dict[str, Any] = record.to_dict() | {"of_a_later_version": 1}
    assert type(record).from_dict(document) == record


@pytest.mark.parametrize("record", [FAILURE, sample_task(), sample_run()])
def test_records_travel_between_processes(record: object) -> None:
    assert pickle.loads(pickle.dumps(record)) == record


def test_an_outcome_stays_small() -> None:
    outcome = Outcome(
        asset_id="a" * 32,
        attempt_id="b" * 32,
        status="failed",
        error_kind="out_of_memory",
        message="x" * 300,
        stage_seconds={"optimise": 100.0, "export": 3.0, "commit": 0.1},
        mesh_status="ok",
        mesh_faces=20_000,
        opacity=0.25,
        losses=dict.fromkeys(("sds", *LossConfig.__dataclass_fields__), 0.5),
    )
    assert len(pickle.dumps(outcome)) < 1500


def test_names_are_drawn_anew_and_runs_sort_by_time() -> None:
    assert len({new_attempt_id() for _ in range(100)}) == 100
    assert len({new_run_id() for _ in range(20)}) == 20
    assert new_run_id()[:15] >= "20260101T000000"
