"""What `dreambatch retry` lets in again, and what it leaves as it is."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline import exit_codes
from pipeline.cli import main
from pipeline.dataset.pardons import pardon
from pipeline.errors import UserError
from pipeline.records import Failure
from pipeline.run.job import prepare
from pipeline.settings import RunSettings
from pipeline.store import Store
from tests.pipeline.runs import write_hollow_weights, write_manifest
from tests.pipeline.sample_assets import open_store, sample_bytes, sample_task


def give_up(store: Store, number: int, kinds: Sequence[str], *, is_final: bool = True) -> str:
    """Failed attempts at sample `number`, after the last of which it is quarantined."""
    task = sample_task(number)
    for count, kind in enumerate(kinds, start=1):
        store.write_failure(
            Failure(
                asset_id=task.asset_id,
                attempt_id=f"{number:016x}{count:016x}",
                prompt_id=task.prompt.prompt_id,
                prompt=task.prompt.prompt,
                error_kind=kind,
                message="it failed",
                attempts=count,
                quarantined=is_final and count == len(kinds),
            )
        )
    return task.asset_id


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two prompts given up as `diverged`, one for `export` after it had diverged, one that failed
    once, and one that was given up and made later."""
    store = open_store(str(tmp_path / "out"))
    give_up(store, 0, ["diverged"] * 3)
    give_up(store, 1, ["diverged"] * 3)
    give_up(store, 2, ["diverged", "export", "export"])
    give_up(store, 3, ["diverged"], is_final=False)
    give_up(store, 4, ["export"] * 2)
    store.commit(sample_task(4).asset_id, sample_bytes(sample_task(4)))
    return store


def left(store: Store) -> set[int]:
    """The numbers of the samples that are given up."""
    numbers = {sample_task(k).asset_id: k for k in range(5)}
    return {numbers[x.asset_id] for x in store.failures() if x.quarantined}


def test_all_are_let_in_and_counted_by_kind(store: Store) -> None:
    said = pardon(store)
    assert said.startswith("let in again: 3 prompts (2 diverged, 1 export);")
    assert left(store) == {4}, "what is made needs no pardon"


def test_one_kind_is_let_in(store: Store) -> None:
    assert "2 prompts (2 diverged)" in pardon(store, kind="diverged")
    assert left(store) == {2, 4}
    assert "1 prompt (1 export)" in pardon(store, kind="export")
    assert left(store) == {4}


def test_all_earlier_failures_of_a_prompt_go_with_the_last(store: Store) -> None:
    """Otherwise its first failure would give it up again; others keep theirs."""
    pardon(store)
    kept = sorted((x.asset_id, x.error_kind) for x in store.failures())
    three, four = sample_task(3).asset_id, sample_task(4).asset_id
    assert kept == sorted([(three, "diverged"), (four, "export"), (four, "export")])


def test_history_stays_in_its_files(store: Store, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in (tmp_path / "out/_failures").iterdir()}
    assert len(before) == 12
    pardon(store)
    after = {path: path.read_bytes() for path in (tmp_path / "out/_failures").iterdir()}
    assert after == before


def test_with_nothing_to_pardon_it_says_so_and_writes_nothing(store: Store, tmp_path: Path) -> None:
    assert "nothing to let in again: quarantined" in pardon(store, kind="hung")
    assert not (tmp_path / "out/_pardons").exists()
    pardon(store)
    assert len(list((tmp_path / "out/_pardons").iterdir())) == 1
    assert "no prompt is quarantined" in pardon(store)
    assert len(list((tmp_path / "out/_pardons").iterdir())) == 1


def test_an_unknown_kind_is_a_mistake(store: Store) -> None:
    with pytest.raises(UserError, match=r"--kind: expected one of .*diverged.*, got 'diverge'"):
        pardon(store, kind="diverge")


def test_the_next_plan_has_them_and_no_history(tmp_path: Path) -> None:
    settings = RunSettings(
        manifest=str(write_manifest(tmp_path / "m.parquet", ["a ball", "a cube"])),
        output=str(tmp_path / "out"),
        guidance=str(write_hollow_weights(tmp_path / "weights")),
        recipe="smoke",
    )
    job = prepare(settings, has_gpus=lambda: False)
    job.store.claim_schema(job.carried)
    ball = next(iter(job.plan.tasks))
    for count in range(2):
        job.store.write_failure(
            Failure(
                asset_id=ball.asset_id,
                attempt_id=f"{count:032x}",
                prompt_id=ball.prompt.prompt_id,
                prompt=ball.prompt.prompt,
                error_kind="export",
                message="no mesh",
                attempts=count + 1,
                quarantined=count == 1,
            )
        )
    again = prepare(settings, has_gpus=lambda: False)
    assert (again.plan.num_quarantined, len(again.plan.tasks)) == (1, 1)
    pardon(again.store)
    last = prepare(settings, has_gpus=lambda: False)
    assert (last.plan.num_quarantined, len(last.plan.tasks)) == (0, 2)
    assert ball.asset_id not in last.histories


def test_the_command(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retry", "--output", store.url, "--kind", "export"]) == exit_codes.COMPLETE
    assert "let in again: 1 prompt (1 export)" in capsys.readouterr().out
    assert main(["retry", "--output", store.url + "-none"]) == exit_codes.USER
    assert "no dataset at" in capsys.readouterr().err
