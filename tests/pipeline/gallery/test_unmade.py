from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import InvalidStore
from pipeline.gallery import unmade
from pipeline.records import Rejection
from tests.pipeline.gallery.samples import HOSTILE, add_unmade
from tests.pipeline.sample_assets import open_store, sample_run, sample_task


def nothing_made(_: set[str]) -> set[str]:
    return set()


def test_the_last_word_on_each_prompt_is_kept(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    add_unmade(store)
    found = unmade.find(store, nothing_made)
    assert {x.message for x in found.quarantined} == {
        "the density is not finite, attempt 2",
        "it hung, attempt 2",
    }
    assert (found.num_quarantined, found.num_rejected) == (2, 1)


def test_what_was_made_after_all_is_no_failure(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    add_unmade(store)
    made = sample_task(0).asset_id
    asked: list[set[str]] = []

    def committed(asset_ids: set[str]) -> set[str]:
        asked.append(asset_ids)
        return {made}

    found = unmade.find(store, committed)
    assert made in asked[0]
    assert [x.message for x in found.quarantined] == ["the density is not finite, attempt 2"]
    assert found.num_quarantined == 1


def test_a_manifest_was_judged_at_its_newest_run(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    runs = [
        ("run-1", "one.parquet", "2026-11-23T12:00:00+00:00", 2),
        ("run-2", "two.parquet", "2026-11-24T12:00:00+00:00", 1),
        ("run-3", "one.parquet", "2026-11-25T12:00:00+00:00", 1),
        ("run-4", "three.parquet", "2026-11-26T12:00:00+00:00", 0),
    ]
    for run_id, manifest, created_at, count in runs:
        run = replace(sample_run(run_id, created_at=created_at), manifest=manifest)
        store.start_run(replace(run, num_rejected=count))
        reason = f"of {run_id}"
        store.write_rejections(
            run_id,
            [Rejection(row=k, prompt_id=None, prompt=None, reason=reason) for k in range(count)],
        )
    found = unmade.find(store, nothing_made)
    assert [(name, x.reason) for name, x in found.rejected] == [
        ("one.parquet", "of run-3"),
        ("two.parquet", "of run-2"),
    ]
    assert found.num_rejected == 2


def test_more_than_is_listed_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unmade, "MOST_LISTED", 3)
    store = open_store(str(tmp_path))
    store.start_run(replace(sample_run(), num_rejected=5))
    rejections = [Rejection(row=k, prompt_id=None, prompt=None, reason="r") for k in range(5)]
    store.write_rejections("run-1", rejections)
    found = unmade.find(store, nothing_made)
    assert [x.row for _, x in found.rejected] == [0, 1, 2]
    assert found.num_rejected == 5


def test_a_run_that_was_killed_before_it_wrote_its_rejections_has_none(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.start_run(sample_run())
    found = unmade.find(store, nothing_made)
    assert (found.rejected, found.num_rejected) == ([], 1)


def test_a_damaged_table_of_rejections_is_named(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    add_unmade(store)
    (tmp_path / "_rejected/run-1.parquet").write_bytes(b"PAR1 and nothing")
    with pytest.raises(InvalidStore, match=r"_rejected/run-1\.parquet is damaged"):
        unmade.find(store, nothing_made)


def test_what_is_unmade_travels_with_its_reason(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    add_unmade(store)
    found = list(unmade.wire(unmade.find(store, lambda _: {sample_task(0).asset_id})))
    assert [sorted(x) for x in found] == [
        ["attempts", "kind", "prompt", "prompt_id", "reason", "status", "when"],
        ["manifest", "prompt", "prompt_id", "reason", "row", "status"],
    ]
    assert found[0]["prompt"] == HOSTILE[0]
    assert (found[0]["attempts"], found[0]["kind"]) == (2, "diverged")
    assert (found[1]["row"], found[1]["reason"]) == (3, "prompt is empty")
