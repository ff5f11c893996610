import hashlib
import json
import re
import unicodedata
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline import plan
from pipeline.records import Prompt, Rejection

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
PARTS = {
    "prompt": TEXT,
    "negative_prompt": TEXT | st.just(""),
    "seed": st.integers(0, 2**63 - 1),
    "recipe_digest": TEXT,
    "guidance_digest": TEXT,
}
REQUEST = st.fixed_dictionaries(PARTS)
BASE = {"prompt": "a", "negative_prompt": "", "recipe_digest": "r", "guidance_digest": "g"}


def name_of(request: dict[str, Any], **other: Any) -> str:
    prompt = Prompt(
        row=other.get("row", 0),
        prompt_id=other.get("prompt_id", "x"),
        prompt=request["prompt"],
        negative_prompt=request["negative_prompt"],
        seed=request["seed"],
        recipe=other.get("recipe"),
        extra=other.get("extra", {}),
    )
    return plan.asset_id(prompt, request["recipe_digest"], request["guidance_digest"])


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


def test_an_asset_has_the_same_name_for_ever() -> None:
    request = {
        "prompt": "a red mushroom, é",
        "negative_prompt": "blurry",
        "seed": 7,
        "recipe_digest": "r" * 64,
        "guidance_digest": "g" * 64,
    }
    canonical = (
        f'{{"guidance_digest":"{"g" * 64}","negative_prompt":"blurry",'
        f'"prompt":"a red mushroom, é","recipe_digest":"{"r" * 64}","seed":7}}'
    )
    assert name_of(request) == hashlib.sha256(canonical.encode()).hexdigest()[:32]
    assert name_of(request) == "6b92960eaf843951f1a0610fe6d56f61"


@given(request=REQUEST, form=st.sampled_from(["NFC", "NFD"]))
def test_the_name_ignores_unicode_form_and_what_does_not_shape_the_asset(
    request: dict[str, Any], form: Any
) -> None:
    other = dict(request)
    for key in ("prompt", "negative_prompt"):
        other[key] = unicodedata.normalize(form, request[key])
    reference = name_of(request)
    assert re.fullmatch("[0-9a-f]{32}", reference)
    assert name_of(other) == reference
    assert name_of(request, row=9, prompt_id="y", recipe="fine", extra={"a": 1}) == reference


@given(first=REQUEST, second=REQUEST, part=st.sampled_from(list(PARTS)))
def test_the_name_depends_on_each_part(
    first: dict[str, Any], second: dict[str, Any], part: str
) -> None:
    changed = first | {part: second[part]}
    canonical = [
        {k: unicodedata.normalize("NFC", str(v)) if "prompt" in k else v for k, v in x.items()}
        for x in (first, changed)
    ]
    assume(json.dumps(canonical[0]) != json.dumps(canonical[1]))
    assert name_of(first) != name_of(changed)


def test_parts_of_a_request_do_not_run_together() -> None:
    base = {"seed": 1, "recipe_digest": "r", "guidance_digest": "g"}
    requests = [
        {"prompt": "a", "negative_prompt": "b"},
        {"prompt": "ab", "negative_prompt": ""},
        {"prompt": 'a","prompt":"b', "negative_prompt": ""},
        {"prompt": "b", "negative_prompt": "a"},
    ]
    assert len({name_of(base | request) for request in requests}) == 4


def test_a_shard_is_the_first_byte_and_never_a_number() -> None:
    assert plan.shard("07" + "0" * 30) == "x07"
    assert plan.SHARDS[:2] == ("x00", "x01")
    assert len(set(plan.SHARDS)) == 256
    assert {plan.shard(name_of({**BASE, "seed": k})) for k in range(5000)} == set(plan.SHARDS)


def test_what_is_committed_or_quarantined_is_not_done_again() -> None:
    prompts = [prompt(k, f"ball {k}") for k in range(5)]
    names = [plan.asset_id(p, "digest of fine", "digest") for p in prompts]
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
            reason="unknown recipe 'crude': expected one of coarse, fine",
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
