"""Lines of results: found again, shared out, joined; tables of made-up outcomes."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine import recipes
from engine.evaluation.manner import Manner
from engine.evaluation.trials import Outcome
from engine.evaluation.variations import Variation
from engine.evaluation.verdict import Verdict
from engine.primitives.grammar import Spec
from engine.studies import results
from engine.studies.results import Key, Part

VARIATION = Variation(name="a try", recipe=replace(recipes.get("smoke"), iterations=50, views=3))
KEY = Key(guidance_digest="g", judge="j2", split="test", prompts=5, seed=7)
MANNER = Manner(slots=3, captured=True)
TREE = {"commit": "c", "versions": {"torch": "2"}}
CAR = Spec("car", ("red", "blue"))


def verdict(*, right: bool) -> Verdict:
    return Verdict(
        spec=CAR,
        taken_for=CAR if right else None,
        colour_place=0 if right else 63,
        geometry_place=0,
        colours_right=(right, True),
        beats_swap=right,
    )


def outcome(*rights: bool, seconds: float, score: float, peak: int | None) -> Outcome:
    return Outcome(
        name="a try",
        recipe=VARIATION.recipe,
        seconds=seconds,
        num_steps=1,
        peak_bytes=peak,
        scenes=[None] * len(rights),
        losses=[{"sds": peak or math.nan} for _ in rights],
        colour=torch.zeros(len(rights), 8, 3, 64, 64),
        verdicts=[verdict(right=right) for right in rights],
        caption_score=score,
    )


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "a/2", "1/0", "-1/2", "1/2/3"])
def test_a_part_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"--part: expected k/n"):
        Part.read(text)


@pytest.mark.parametrize(("total", "count"), [(48, 4), (7, 3), (2, 3)])
def test_parts_hold_every_scene_once_and_in_order(total: int, count: int) -> None:
    spans = [Part.read(f"{k + 1}/{count}").span(total) for k in range(count)]
    assert [n for first, end in spans for n in range(first, end)] == list(range(total))


def test_lines_are_found_by_all_that_they_were_made_by(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.jsonl"
    assert results.read(path) == []
    made = outcome(True, seconds=1.0, score=1.0, peak=None)
    row = results.row_of(KEY.of(VARIATION), made, [0.1], [{}], "cpu", Manner(), TREE)
    results.append(path, row)
    with path.open("a") as file:
        file.write('{"key": {"varia')
    rows = results.read(path)
    assert results.find(rows, KEY.of(VARIATION)) == rows[0]
    others = [
        replace(KEY, judge="j1").of(VARIATION),
        replace(KEY, seed=8).of(VARIATION),
        replace(KEY, part=Part(count=2)).of(VARIATION),
        KEY.of(replace(VARIATION, name="another")),
        KEY.of(replace(VARIATION, manner=Manner())),
        KEY.of(replace(VARIATION, manner=MANNER)),
        KEY.of(replace(VARIATION, recipe=replace(VARIATION.recipe, views=2))),
    ]
    assert [results.find(rows, other) for other in others] == [None] * 7
    stems = {KEY.stem(VARIATION), replace(KEY, seed=8).stem(VARIATION)}
    assert len(stems) == 2


def test_parts_are_joined_scene_by_scene() -> None:
    halves = [replace(KEY, part=Part(number=k, count=2)) for k in (1, 2)]
    made = [
        outcome(True, False, seconds=4.0, score=1.0, peak=5),
        outcome(True, True, True, seconds=6.0, score=3.0, peak=None),
    ]
    far = [[0.1, math.inf], [0.2, 0.3, 0.4]]
    rows = [
        results.row_of(
            key.of(VARIATION), one, some, [{"more": 1}] * len(some), "a GPU", MANNER, TREE
        )
        for key, one, some in zip(halves, made, far, strict=True)
    ]
    rows = json.loads(json.dumps(rows))
    first = results.collect(rows[:1], halves[1], VARIATION)
    assert first is not None
    assert (len(first.scenes), first.chamfer) == (2, math.inf)
    whole = results.collect(rows[::-1], halves[0], VARIATION)
    assert whole is not None
    assert (whole.seconds, whole.peak_bytes, whole.ok) == (10.0, 5, 0)
    assert whole.caption_score == pytest.approx((2 * 1.0 + 3 * 3.0) / 5)
    assert [scene["chamfer"] for scene in whole.scenes] == [0.1, None, 0.2, 0.3, 0.4]
    assert whole.scenes[4]["more"] == 1
    assert [scene["losses"] for scene in whole.scenes] == [{"sds": 5}] * 2 + [{"sds": None}] * 3
    assert whole.chamfer == 0.3
    assert whole.figures.colour_retrieval == pytest.approx(4 / 5)
    assert whole.figures.colour == pytest.approx(9 / 10)
    assert whole.evaluations == 150
    # 4/5 found, all shapes found, 4/5 kinds, 9/10 colours, and nothing for a distance above .2.
    assert whole.score == pytest.approx((0.8 + 1.0 + 0.8 + 0.9 + 0.0) / 5)
    row = json.loads(json.dumps(whole.as_row()))
    assert (row["evaluations"], row["chamfer"], row["device"]) == (150, 0.3, "a GPU")
    assert Manner(**row["manner"]) == MANNER
    assert row["trees"] == [TREE]
    del rows[0]["manner"], rows[1]["manner"]
    old = results.collect(rows, halves[0], VARIATION)
    assert old is not None
    assert old.manner is None
    assert results.collect([], KEY, VARIATION) is None


def test_parts_of_several_trees_name_them_all() -> None:
    thirds = [replace(KEY, part=Part(number=k, count=3)) for k in (1, 2, 3)]
    made = outcome(True, seconds=1.0, score=1.0, peak=None)
    later = {**TREE, "commit": "later"}
    rows = [
        results.row_of(key.of(VARIATION), made, [0.1], [{}], "cpu", MANNER, tree)
        for key, tree in zip(thirds, (TREE, later, TREE), strict=True)
    ]
    whole = results.collect(rows, thirds[0], VARIATION)
    assert whole is not None
    assert whole.trees == [TREE, later]
    # A line of before trees were kept.
    del rows[1]["tree"]
    whole = results.collect(rows, thirds[0], VARIATION)
    assert whole is not None
    assert whole.as_row()["trees"] == [TREE]
