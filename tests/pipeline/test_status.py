import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import status
from pipeline.store import Store
from tests.pipeline.sample_assets import open_store, sample_bytes, sample_run, sample_task
from tests.pipeline.test_records import FAILURE, SUMMARY

BEFORE, SINCE = "2026-11-22T00:00:00+00:00", "2026-11-23T13:00:00+00:00"


def commit(store: Store, *numbers: int) -> int:
    """Commits samples; returns their total size."""
    tasks = [sample_task(k) for k in numbers]
    data = [sample_bytes(task) for task in tasks]
    for task, one in zip(tasks, data, strict=True):
        store.commit(task.asset_id, one)
    return sum(map(len, data))


def test_a_fresh_output_has_nothing_and_knows_no_plan(tmp_path: Path) -> None:
    found = status.summarise(open_store(str(tmp_path)))
    assert (found.num_committed, found.num_bytes, found.num_runs) == (0, 0, 0)
    assert found.num_remaining is None
    assert "remaining    unknown (no run is recorded)" in status.render(found)


def test_a_killed_run_is_counted_from_the_store(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    num_bytes = commit(store, 0, 1)
    run = replace(sample_run(), num_prompts=10, num_committed_before=1, num_assets_before=2)
    store.start_run(replace(run, num_quarantined_before=1))
    num_bytes += commit(store, 2, 3, 4)
    store.write_failure(replace(FAILURE, quarantined=True, created_at=BEFORE))
    store.write_failure(replace(FAILURE, attempt_id="c" * 32, asset_id="d" * 32, created_at=SINCE))
    given_up = replace(FAILURE, asset_id="e" * 32, quarantined=True, created_at=SINCE)
    store.write_failure(replace(given_up, error_kind="out_of_memory"))
    found = status.summarise(store)
    assert (found.num_committed, found.num_bytes) == (5, num_bytes)
    assert (found.num_quarantined, found.num_rejected) == (2, 1)
    assert found.failures == {"diverged": 2, "out_of_memory": 1}
    assert found.num_remaining == 10 - 1 - 1 - 3 - 1
    assert found.summary is None


def test_a_finished_run_says_itself_what_remains(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.start_run(sample_run("run-0", created_at=BEFORE))
    store.start_run(sample_run())
    store.finish_run(replace(SUMMARY, num_remaining=2))
    found = status.summarise(store)
    assert (found.num_runs, found.num_remaining) == (2, 2)
    assert found.run == sample_run()


@pytest.mark.parametrize(
    ("limit", "line"),
    [
        (None, "  remaining    2"),
        (7, "  remaining    2 among the first 7 of the manifest (--limit)"),
    ],
)
def test_a_limit_of_the_run_is_said(tmp_path: Path, limit: int | None, line: str) -> None:
    store = open_store(str(tmp_path))
    store.start_run(replace(sample_run(), details={"arguments": {"limit": limit}}))
    store.finish_run(replace(SUMMARY, num_remaining=2))
    assert line in status.render(status.summarise(store)).splitlines()


@pytest.mark.parametrize("words", ["1 row has words that say nothing", ""])
def test_words_that_the_model_does_not_know_are_told_again(tmp_path: Path, words: str) -> None:
    store = open_store(str(tmp_path))
    store.start_run(replace(sample_run(), details={"foreign_words": words}))
    _, *lines = status.render(status.summarise(store)).splitlines()
    assert [line for line in lines if "words" in line] == [f"  words        {words}"] * bool(words)


def test_what_was_quarantined_and_made_later_is_not_quarantined(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    commit(store, 0)
    store.write_failure(replace(FAILURE, asset_id=sample_task(0).asset_id, quarantined=True))
    assert status.summarise(store).num_quarantined == 0


def test_the_block_of_text_names_every_count(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    commit(store, 0)
    store.start_run(sample_run())
    store.write_failure(FAILURE)
    assert "newest run   run-1, not over" in status.render(status.summarise(store))
    store.finish_run(SUMMARY)
    text = status.render(status.summarise(store))
    size = len(sample_bytes(sample_task(0))) / 1000
    assert text.splitlines() == [
        str(tmp_path),
        f"  committed    1 ({size:.3g} KB)",
        "  remaining    0",
        "  quarantined  0",
        "  rejected     1",
        "  failures     1 diverged",
        "  runs         1",
        f"  newest run   run-1, ended {SUMMARY.finished_at} with code 3: "
        "2 made with 12 device seconds in 3 seconds",
        "  manifest     demo.parquet",
    ]


def test_prompts_under_way_are_those_with_a_checkpoint_that_wait_for_it(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    commit(store, 0)
    given_up = replace(FAILURE, asset_id=sample_task(1).asset_id, quarantined=True)
    store.write_failure(given_up)
    assert "checkpoints" not in status.render(status.summarise(store))
    for number in range(4):
        store.write_checkpoint(sample_task(number).asset_id, b"as far as it came")
    found = status.summarise(store)
    assert found.num_under_way == 2
    assert "  checkpoints  2, from which prompts under way go on" in status.render(found)


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 KB"), (2.5e9, "2.5 GB"), (7e15, "7e+03 TB")],
)
def test_sizes_are_in_decimal_units(tmp_path: Path, num_bytes: float, text: str) -> None:
    found = replace(status.summarise(open_store(str(tmp_path))), num_bytes=int(num_bytes))
    assert f"({text})" in status.render(found)


def test_a_status_is_json(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.start_run(sample_run())
    store.finish_run(SUMMARY)
    document = json.loads(json.dumps(dataclasses.asdict(status.summarise(store))))
    assert document["summary"]["num_committed"] == 2
    assert document["run"]["manifest"] == "demo.parquet"


def test_reading_a_status_writes_nothing(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    commit(store, 0)
    before = sorted(tmp_path.rglob("*"))
    status.summarise(Store.open(str(tmp_path), create=False))
    assert sorted(tmp_path.rglob("*")) == before
