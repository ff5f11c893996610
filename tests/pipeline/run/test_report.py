"""The records and last words of a run."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.metrics import JobMetrics
from pipeline.prompts.rejection_table import RejectionTable
from pipeline.run import report
from pipeline.run.job import Job, prepare
from pipeline.run.ledger import Totals
from pipeline.settings import RunSettings
from tests.pipeline.runs import write_hollow_weights, write_manifest


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Three prompts of two recipes, and a row that is rejected."""
    recipes: list[object] = [None, "primitives_cpu", None, None]
    manifest = write_manifest(tmp_path / "m.parquet", ["a", "b", "c", ""], recipe=recipes)
    settings = RunSettings(
        manifest=str(manifest),
        output=str(tmp_path / "out"),
        recipe="smoke",
        guidance=str(write_hollow_weights(tmp_path / "weights")),
    )
    return prepare(settings, has_gpus=lambda: False)


def test_run_json_can_be_read_without_us(job: Job) -> None:
    run = report.start(job, "run-1", num_actors=4)
    assert set(run.recipes) == {"smoke", "primitives_cpu"}
    assert run.recipes["smoke"] == job.choice.recipes["smoke"].to_dict()
    assert (run.num_prompts, run.num_rejected, run.num_assets_before) == (3, 1, 0)
    assert run.details["recipe"] == "smoke"
    assert run.details["arguments"]["slots"] is None
    assert run.details["versions"]["ray"][0].isdigit()


def test_summary_json_adds_up(job: Job) -> None:
    totals = Totals(
        num_committed=1,
        num_duplicate=1,
        num_quarantined=1,
        gpu_seconds_useful=3.0,
        gpu_seconds_wasted={"duplicate": 1.0},
    )
    summary = report.summary(job, "run-1", 3, totals, JobMetrics(), 10.0)
    assert (summary.num_remaining, summary.num_quarantined, summary.exit_code) == (0, 1, 3)
    assert (summary.gpu_seconds, summary.gpu_seconds_useful) == (4.0, 3.0)
    assert summary.gpu_seconds_wasted == {"duplicate": 1.0}
    assert "dreambatch_asset_seconds_sum" in summary.details["metrics"]


def test_a_late_summary_keeps_what_is_known(job: Job) -> None:
    run = report.start(job, "run-1", num_actors=1)
    interrupted = report.summary(
        job, "run-1", 130, Totals(gpu_seconds_useful=3.0), JobMetrics(), 10.0
    )
    late = report.late_summary(job, run, interrupted, 0)
    assert (late.exit_code, late.num_remaining, late.gpu_seconds) == (0, 0, 3.0)
    unknown = report.late_summary(job, run, None, 0)
    assert (unknown.run_id, unknown.gpu_seconds) == ("run-1", 0.0)
    assert "unknown" in unknown.details["written_by"]


def test_a_limit_is_said(job: Job) -> None:
    limited = replace(job, settings=replace(job.settings, limit=7))
    said = report.announcement(limited, 1)
    assert said.startswith("3 assets to make among the first 7 of the manifest (--limit)")


def test_a_recipe_that_the_output_had_is_told_from_one_that_was_said(job: Job) -> None:
    assert "recipe smoke, 1 actor" in report.announcement(job, 1)
    kept = replace(job, choice=replace(job.choice, is_kept=True))
    assert "recipe smoke (as before in this output), 1 actor" in report.announcement(kept, 1)


def test_a_recipe_for_gpus_names_its_twin_where_there_is_none(tmp_path: Path) -> None:
    recipes: list[object] = [None, "primitives_cpu", "smoke"]
    manifest = write_manifest(tmp_path / "m.parquet", ["a", "b", "a unicorn"], recipe=recipes)
    settings = RunSettings(
        manifest=str(manifest), output=str(tmp_path / "out"), recipe="primitives"
    )
    job = prepare(settings, has_gpus=lambda: False)
    foreign = (
        "2 rows have words that say nothing to the embedded model: 'b' (prompt, row 1), "
        "'unicorn' (prompt, row 2)"
    )
    assert report.notes(job, has_gpus=True) == [foreign]
    assert report.start(job, "run-1", num_actors=1).details["foreign_words"] == foreign
    assert f"foreign words  {foreign}" in report.done(job, Totals(num_committed=3), {}, 1.0)
    (first, hint) = report.notes(job, has_gpus=False)
    assert first == foreign
    assert "recipe primitives is meant for" in hint
    assert "--recipe primitives_cpu" in hint


def test_a_recipe_that_rows_name_is_changed_in_the_rows(tmp_path: Path) -> None:
    recipes: list[object] = [None, "primitives"]
    manifest = write_manifest(tmp_path / "m.parquet", ["a ball", "a cube"], recipe=recipes)
    settings = RunSettings(
        manifest=str(manifest), output=str(tmp_path / "out"), recipe="primitives_cpu"
    )
    (hint,) = report.notes(prepare(settings, has_gpus=lambda: False), has_gpus=False)
    assert "recipe primitives is meant for" in hint
    assert "primitives_cpu in the column `recipe`" in hint
    assert "--recipe" not in hint


def test_of_a_recipe_without_a_twin_nothing_is_noted(job: Job) -> None:
    assert report.notes(job, has_gpus=False) == ["row 3 is rejected: prompt is empty"]


def test_of_rejected_rows_the_first_is_told_before_and_after(job: Job) -> None:
    one = "row 3 is rejected: prompt is empty"
    assert report.notes(job, has_gpus=True) == [one]
    assert f"_rejected ({one})" in report.done(job, Totals(), {}, 1.0)
    rejections = RejectionTable([*job.plan.rejections, *job.plan.rejections])
    more = replace(job, plan=replace(job.plan, rejections=rejections))
    several = f"2 rows are rejected, which `dreambatch validate` lists; the first: {one}"
    assert report.notes(more, has_gpus=True) == [several]


def test_what_an_interruption_keeps_is_said_where_there_are_checkpoints(job: Job) -> None:
    assert "from its checkpoints" in report.interrupted(job, Totals())
    without = replace(job, settings=replace(job.settings, checkpoint_minutes=0.0))
    assert report.interrupted(without, Totals()).endswith("goes on from there")


def test_no_directory_is_named_that_is_not_there(job: Job) -> None:
    assert "assets " not in report.done(job, Totals(), {}, 1.0)
    assert "assets " in report.done(job, Totals(num_committed=1), {}, 1.0)


def test_last_words(job: Job) -> None:
    views = {"catalog": "/o/catalog/part-00000.parquet", "contact sheet": "/o/contact_sheet.png"}
    words = report.done(job, Totals(num_committed=2, num_quarantined=1), views, 61.0).splitlines()
    assert words[0] == "done in 1 min 01 s: 2 committed, 1 quarantined, 1 rejected"
    places = dict(line.strip().split("  ", 1) for line in words[1:])
    assert places["contact sheet"].strip() == "/o/contact_sheet.png"
    assert "_rejected" in places["rejected rows"]
    assert "_failures" in places["failures"]
    assert "pandas.read_parquet" in places["next"]
    assert "3 assets to make, 1 rejected; recipe smoke, 1 actor" in report.announcement(job, 1)


def test_last_words_without_an_asset(job: Job) -> None:
    words = report.done(job, Totals(num_quarantined=3), {}, 1.0)
    assert "foreign words" not in words
    assert "contact sheet" not in words
    assert "_failures" in words


def test_the_waste_is_a_number_that_one_can_read(job: Job) -> None:
    wasted = {"diverged": 8.0, "preempted": 220.0, "store": 0.0}
    totals = Totals(num_committed=1, gpu_seconds_useful=18_192.0, gpu_seconds_wasted=wasted)
    expected = "5 h 07 min, 1.2 % wasted: 3 min 40 s preempted, 8 s diverged"
    assert report.device_time(totals) == expected
    for words in (report.done(job, totals, {}, 1.0), report.interrupted(job, totals)):
        (line,) = (line for line in words.splitlines() if "device time" in line)
        assert line.endswith(f"  {expected}")
    assert report.device_time(Totals(gpu_seconds_useful=8.0)) == "8 s, 0.0 % wasted"
    assert "device time" not in report.done(job, Totals(), {}, 1.0)


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert report.version("ray")[0].isdigit()
    assert report.version("a package of tomorrow") == "unknown"
