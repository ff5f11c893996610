import hashlib
import json
import re
import unicodedata
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.dataset import asset_names
from pipeline.dataset.asset_names import SHARDS
from pipeline.records import Prompt

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
    return asset_names.asset_id(prompt, request["recipe_digest"], request["guidance_digest"])


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
    assert asset_names.shard_of("07" + "0" * 30) == "x07"
    assert SHARDS[:2] == ("x00", "x01")
    assert len(set(SHARDS)) == 256
    assert {asset_names.shard_of(name_of({**BASE, "seed": k})) for k in range(5000)} == set(SHARDS)
