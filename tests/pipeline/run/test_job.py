"""What a run is to do: choices, and mistakes that must come out before anything is written."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import recipes
from engine.guidance import files
from pipeline import models, recipe_files
from pipeline.errors import UserError
from pipeline.records import Failure, RunStart
from pipeline.run.job import Job, prepare
from pipeline.run.report import start
from pipeline.settings import RunSettings
from pipeline.store import Store
from tests.pipeline.runs import write_hollow_weights, write_manifest
from tests.pipeline.sample_assets import sample_bytes


def never() -> bool:
    raise AssertionError("the cluster was asked although nothing hung on it")


@pytest.fixture
def here(tmp_path: Path) -> RunSettings:
    """Settings of two prompts, hollow weights and an output that is not there yet."""
    return RunSettings(
        manifest=str(write_manifest(tmp_path / "m.parquet", ["a ball", "a cube"])),
        output=str(tmp_path / "out"),
        guidance=str(write_hollow_weights(tmp_path / "weights")),
        recipe="smoke",
    )


def but(settings: RunSettings, **changes: object) -> RunSettings:
    return RunSettings(**{**vars(settings), **changes})


def begun(settings: RunSettings) -> tuple[Job, RunStart]:
    """A run that was started and then killed."""
    job = prepare(settings, has_gpus=never)
    job.store.claim_schema(job.carried)
    record = start(job, "run-1", num_actors=1)
    job.store.start_run(record)
    return job, record


def test_a_fresh_output(here: RunSettings) -> None:
    job = prepare(here, has_gpus=never)
    assert [task.prompt.prompt for task in job.plan.tasks] == ["a ball", "a cube"]
    assert job.choice.default == "smoke"
    assert here.guidance is not None
    assert job.weights.digest == files.digest(Path(here.guidance))
    assert (job.earlier, job.num_assets, job.histories) == (None, 0, {})
    assert not [path for path in Path(here.output).rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slots": 0}, "--slots: expected 1 or more, got 0"),
        ({"gpus": -1}, "--gpus: expected 1 or more, got -1"),
        ({"limit": 0}, "--limit: expected 1 or more, got 0"),
        ({"metrics_port": 70000}, "--metrics-port: expected 0"),
        ({"recipe": "smok"}, "did you mean 'smoke'"),
        ({"guidance": "/nowhere"}, "no such directory"),
        ({"manifest": "/nowhere.parquet"}, "/nowhere.parquet"),
        ({"output": "memory://out"}, "memory"),
    ],
)
def test_mistakes_leave_nothing(
    here: RunSettings, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        prepare(but(here, **changes), has_gpus=never)
    assert not Path(here.output).exists()


def test_weights_that_lack_a_file(here: RunSettings) -> None:
    assert here.guidance is not None
    (Path(here.guidance) / "unet/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"diffusion_pytorch_model\.safetensors"):
        prepare(here, has_gpus=never)
    assert not Path(here.output).exists()


def test_strict_stops_at_a_rejected_row(here: RunSettings) -> None:
    write_manifest(Path(here.manifest), ["a ball", "", "a cube"])
    assert len(prepare(here, has_gpus=never).plan.rejections) == 1
    with pytest.raises(UserError, match="row 1 of the manifest is rejected"):
        prepare(but(here, strict=True, output=here.output + "2"), has_gpus=never)
    assert not Path(here.output + "2").exists()


def test_a_row_cannot_have_a_recipe_for_another_model_unless_one_is_named_for_all(
    here: RunSettings,
) -> None:
    write_manifest(Path(here.manifest), ["a ball", "a cube"], recipe=[None, "dreamfusion_if"])
    named = prepare(here, has_gpus=never).plan
    assert (len(named.tasks), len(named.rejections)) == (2, 0)
    plan = prepare(but(here, guidance=None, output=here.output + "2"), has_gpus=never).plan
    assert [task.prompt.prompt for task in plan.tasks] == ["a ball"]
    (rejection,) = plan.rejections
    assert rejection.row == 1
    assert (
        "is for the model 'DeepFloyd/IF-I-XL-v1.0', this run has 'primitives'" in rejection.reason
    )


def test_strict_stops_at_an_unknown_recipe_of_a_row(here: RunSettings) -> None:
    write_manifest(Path(here.manifest), ["a ball", "a cube"], recipe=[None, "smokey"])
    assert len(prepare(here, has_gpus=never).plan.tasks) == 1
    with pytest.raises(UserError, match="unknown recipe 'smokey'"):
        prepare(but(here, strict=True), has_gpus=never)


@pytest.mark.parametrize(
    ("has_gpus", "gpus", "expected"),
    [(False, None, "primitives_cpu"), (True, None, "primitives"), (False, 2, "primitives")],
)
def test_the_default_recipe_goes_by_the_gpus(
    here: RunSettings, has_gpus: bool, gpus: int | None, expected: str
) -> None:
    job = prepare(but(here, recipe=None, gpus=gpus), has_gpus=lambda: has_gpus)
    assert job.choice.default == expected


def test_an_output_keeps_its_recipe_and_weights(
    here: RunSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, record = begun(here)
    changed = recipes.get("smoke")
    monkeypatch.setattr(
        recipes,
        "get",
        lambda name: changed.__class__.from_dict(
            {**changed.to_dict(), "name": name, "iterations": 99}
        ),
    )
    again = prepare(but(here, recipe=None, guidance=None), has_gpus=never)
    assert again.earlier == record
    assert (again.choice.default, again.choice.is_kept) == ("smoke", True)
    assert again.choice.recipes["smoke"] == job.choice.recipes["smoke"]
    assert again.weights == job.weights
    assert [t.asset_id for t in again.plan.tasks] == [t.asset_id for t in job.plan.tasks]
    anew = prepare(here, has_gpus=never)
    assert not anew.choice.is_kept
    assert anew.choice.recipes["smoke"].iterations == 99, "--recipe means this version's"


def test_a_run_starts_from_a_recipe_file_and_from_an_earlier_run(
    here: RunSettings, tmp_path: Path
) -> None:
    mine = dataclasses.replace(recipes.get("smoke"), name="mine", iterations=7)
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(mine.to_dict()))
    from_file = but(here, recipe=str(path))
    job, _ = begun(from_file)
    assert (job.choice.default, job.choice.recipes["mine"]) == ("mine", mine)
    assert {task.recipe_digest for task in job.plan.tasks} == {mine.digest()}
    run = Path(here.output) / "_runs" / "run-1" / "run.json"
    again = prepare(but(here, recipe=str(run), output=str(tmp_path / "other")), has_gpus=never)
    assert [t.asset_id for t in again.plan.tasks] == [t.asset_id for t in job.plan.tasks]
    assert prepare(but(from_file, recipe=None), has_gpus=never).choice.default == "mine"


def test_relative_weights_are_found_from_everywhere(
    here: RunSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = prepare(but(here, guidance="weights"), has_gpus=never)
    assert job.weights.guidance == str(tmp_path / "weights")


def test_what_is_committed_or_given_up_is_not_planned(here: RunSettings) -> None:
    job, _ = begun(here)
    ball, cube = job.plan.tasks
    store = Store.open(here.output, create=True)
    store.commit(ball.asset_id, sample_bytes(ball))
    for number, is_last in enumerate((False, True)):
        store.write_failure(
            Failure(
                asset_id=cube.asset_id,
                attempt_id=f"{number:032x}",
                prompt_id=cube.prompt.prompt_id,
                prompt=cube.prompt.prompt,
                error_kind="diverged",
                message="m",
                attempts=number + 1,
                quarantined=is_last,
            )
        )
    again = prepare(here, has_gpus=never)
    assert len(again.plan.tasks) == 0
    assert (again.plan.num_committed, again.plan.num_quarantined, again.num_assets) == (1, 1, 1)
    assert again.histories == {cube.asset_id: ["diverged", "diverged"]}


def test_a_pardoned_failure_is_as_good_as_none(here: RunSettings) -> None:
    job, _ = begun(here)
    ball, cube = job.plan.tasks
    for task in (ball, cube):
        job.store.write_failure(
            Failure(
                asset_id=task.asset_id,
                attempt_id=f"{task.prompt.row:032x}",
                prompt_id=task.prompt.prompt_id,
                prompt=task.prompt.prompt,
                error_kind="empty",
                message="m",
                attempts=1,
                quarantined=True,
            )
        )
    assert prepare(here, has_gpus=never).plan.num_quarantined == 2
    job.store.pardon([f"{cube.prompt.row:032x}"])
    again = prepare(here, has_gpus=never)
    assert [task.asset_id for task in again.plan.tasks] == [cube.asset_id]
    assert (again.plan.num_quarantined, again.histories) == (1, {ball.asset_id: ["empty"]})


def test_checkpoints_of_what_is_planned_are_known(here: RunSettings) -> None:
    job, _ = begun(here)
    ball, cube = job.plan.tasks
    for asset_id in (ball.asset_id, cube.asset_id, "0" * 32):
        job.store.write_checkpoint(asset_id, b"half")
    job.store.commit(ball.asset_id, sample_bytes(ball))
    assert prepare(here, has_gpus=never).checkpointed == {cube.asset_id}


def test_model_and_recipe_are_fetched_once(
    here: RunSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for module in (models, recipe_files):
        find = module.find

        def count(name: str, find: Callable[[str], Any] = find) -> Any:
            asked.append(name)
            return find(name)

        monkeypatch.setattr(module, "find", count)
    prepare(here, has_gpus=never)
    assert asked == [here.recipe, here.guidance]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"details": {}}, "'recipe'"),
        ({"details": {"recipe": "other"}}, "its recipe 'other' is not among smoke"),
        ({"recipes": {"smoke": {"iterations": 3}}}, "smoke|iterations|recipe|name"),
        ({"recipes": {"smoke": 3}}, "run run-1: "),
        ({"details": {"recipe": ["smoke"]}}, "run run-1: "),
    ],
)
def test_an_earlier_run_without_a_recipe_is_a_users_mistake(
    here: RunSettings, changes: dict[str, Any], message: str
) -> None:
    begun(here)
    path = Path(here.output) / "_runs" / "run-1" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UserError, match=message) as error:
        prepare(but(here, recipe=None), has_gpus=never)
    assert "say --recipe to choose anew" in str(error.value)
    assert prepare(here, has_gpus=never).choice.default == "smoke"


def test_other_columns_than_before_are_refused_before_ray_starts(
    here: RunSettings, tmp_path: Path
) -> None:
    begun(here)
    before = sorted(path for path in tmp_path.rglob("*"))
    write_manifest(Path(here.manifest), ["a ball"], weight=[1.5])
    with pytest.raises(UserError, match="'weight'"):
        prepare(here, has_gpus=never)
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_seeds_per_prompt_are_planned_and_what_is_there_is_kept(here: RunSettings) -> None:
    (one,) = prepare(but(here, limit=1), has_gpus=never).plan.tasks.asset_ids()
    several = prepare(but(here, limit=3, seeds_per_prompt=3), has_gpus=never).plan
    assert len(several.tasks) == 3
    assert one in set(several.tasks.asset_ids()), "the first seed is what it was"
    with pytest.raises(UserError, match="--seeds-per-prompt: expected 1 to 10000, got 0"):
        prepare(but(here, seeds_per_prompt=0), has_gpus=never)
