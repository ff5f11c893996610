from typing import Any

from pipeline import plan
from pipeline.dataset.asset_names import asset_id
from pipeline.records import Prompt, Rejection


def prompt(row: int, text: str = "a ball", *, seed: int = 0, recipe: str | None = None) -> Prompt:
    return Prompt(row=row, prompt_id=f"row-{row}", prompt=text, seed=seed, recipe=recipe)


def make(prompts: list[Prompt | Rejection], **options: Any) -> plan.Plan:
    return plan.make_plan(
        prompts,
        recipes={"fine": "digest of fine", "coarse": "digest of coarse"},
        default_recipe="fine",
        guidance="primitives",
        guidance_digest="digest",
        **options,
    )


def test_what_is_committed_or_quarantined_is_not_done_again() -> None:
    prompts = [prompt(k, f"ball {k}") for k in range(5)]
    names = [asset_id(p, "digest of fine", "digest") for p in prompts]
    found = make(
        [*prompts, Rejection(row=9, prompt_id=None, prompt=None, reason="prompt is empty")],
        committed={names[0], names[1], "of another manifest"},
        quarantined={names[1], names[3]},
    )
    assert [task.asset_id for task in found.tasks] == [names[2], names[4]]
    assert (found.num_committed, found.num_quarantined, found.num_prompts) == (2, 1, 5)
    assert [rejection.row for rejection in found.rejections] == [9]


def test_tasks_of_one_recipe_stand_together_in_the_manifests_order() -> None:
    recipes = ["coarse", None, "coarse", "fine", None]
    found = make([prompt(k, f"ball {k}", recipe=recipe) for k, recipe in enumerate(recipes)])
    assert [(task.prompt.row, task.recipe_name) for task in found.tasks] == [
        (0, "coarse"),
        (2, "coarse"),
        (1, "fine"),
        (3, "fine"),
        (4, "fine"),
    ]
    assert {task.recipe_digest for task in found.tasks} == {"digest of fine", "digest of coarse"}
    assert {(task.guidance, task.guidance_digest) for task in found.tasks} == {
        ("primitives", "digest")
    }


def test_a_row_with_an_unknown_recipe_is_rejected() -> None:
    found = make([prompt(0, recipe="crude"), prompt(1)])
    assert [task.prompt.row for task in found.tasks] == [1]
    assert list(found.rejections) == [
        Rejection(
            row=0,
            prompt_id="row-0",
            prompt="a ball",
            reason="unknown recipe 'crude': expected one of fine, coarse",
        )
    ]


def test_a_row_whose_recipe_does_not_fit_the_run_is_rejected_with_the_reason() -> None:
    found = make([prompt(0, recipe="coarse"), prompt(1)], unfit={"coarse": "for another model"})
    assert [task.prompt.row for task in found.tasks] == [1]
    assert [(r.row, r.reason) for r in found.rejections] == [(0, "for another model")]


def test_two_rows_that_ask_for_one_asset_are_one_task() -> None:
    found = make([prompt(0), prompt(1, recipe="fine"), prompt(2, recipe="coarse")])
    assert [task.prompt.row for task in found.tasks] == [0, 2]
    assert [(r.row, r.reason) for r in found.rejections] == [
        (1, "asks for the asset of row 0 again")
    ]


def test_an_empty_plan_is_a_plan() -> None:
    found = make([])
    assert (list(found.tasks), found.num_prompts, list(found.rejections)) == ([], 0, [])
