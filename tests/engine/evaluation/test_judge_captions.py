from collections import Counter

import pytest
import torch

from engine.evaluation import judge_captions
from engine.evaluation.judge import numbers
from engine.evaluation.judge_captions import GROUP_WIDTH, NUM_GROUPS, CaptionTable, hard_negatives
from engine.guidance.prompts import VIEWS
from engine.primitives.captions import caption, forms, parse, vocabulary
from engine.primitives.grammar import Geometry, Spec, specs

SCENES = [
    Spec("mushroom", ("red", "white")),
    Spec("cube", ("red", "blue"), "on", "cylinder"),
    Spec("ball", ("green",), count=3),
]


def table() -> CaptionTable:
    return CaptionTable.of([forms(spec) for spec in SCENES], vocabulary())


def words(row: torch.Tensor) -> str:
    text = " ".join(vocabulary()[number - 1] for number in row.tolist() if number)
    return text.replace(" ,", ",")


def test_captions_are_drawn_of_the_scene_asked_for() -> None:
    scenes = torch.arange(len(SCENES)).repeat(300)
    for scene, row in zip(scenes.tolist(), table().draw(scenes), strict=True):
        assert parse(words(row)) == SCENES[scene]
        # Padding comes last, so that a length says where a caption ends.
        assert row[(row > 0).sum() :].sum() == 0


def test_forms_and_views_are_drawn_as_often_as_said() -> None:
    count = 4000
    said = [words(row) for row in table().draw(torch.zeros(count, dtype=torch.long))]
    with_view = [text for text in said if text.endswith("view")]
    assert len(with_view) / count == pytest.approx(judge_captions.VIEW_SHARE, abs=0.03)
    views = Counter(text.rsplit(", ", 1)[1] for text in with_view)
    assert set(views) == set(VIEWS)
    canonical = sum(text.startswith(caption(SCENES[0])) for text in said) / count
    number = len(forms(SCENES[0]))
    assert canonical == pytest.approx(0.5 + 0.5 / number, abs=0.03)
    bare = {text for text in said if not text.endswith("view")}
    assert bare == set(forms(SCENES[0]))


def test_a_caption_without_a_view_is_in_the_judge_s_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(judge_captions, "VIEW_SHARE", 0.0)
    monkeypatch.setattr(judge_captions, "CANONICAL_SHARE", 1.1)
    found = table().draw(torch.tensor([2]))
    expected = numbers([caption(SCENES[2])], vocabulary())
    assert torch.equal(found[:, : expected.shape[1]], expected)


WORLD = specs()[:400:7] + tuple(
    spec
    for spec in specs()
    if spec.kind in ("mushroom", "car", "ball", "cube")
    and spec.other in ("", "cylinder", "ball")
    and set(spec.colours) <= {"red", "blue", "white", "black"}
)
WORLD = tuple(dict.fromkeys(WORLD))
WRONG = hard_negatives(WORLD, seed=3)


def groups(spec: Spec) -> list[list[Spec]]:
    rows = WRONG[WORLD.index(spec)].tolist()
    return [[WORLD[i] for i in row] for row in rows]


def test_no_scene_is_its_own_negative() -> None:
    assert WRONG.shape == (len(WORLD), NUM_GROUPS, GROUP_WIDTH)
    assert not (torch.arange(len(WORLD))[:, None, None] == WRONG).any()


def test_a_scene_s_negatives_are_of_the_four_sorts() -> None:
    spec = Spec("car", ("red", "blue", "white"))
    permuted, recoloured, reshaped, related = groups(spec)
    assert all(set(s.colours) == set(spec.colours) and s.kind == "car" for s in permuted)
    assert spec.swapped() in permuted
    for other in recoloured:
        assert other.geometry == spec.geometry
        assert sum(a != b for a, b in zip(other.colours, spec.colours, strict=True)) == 1
    slots = {
        [a == b for a, b in zip(s.colours, spec.colours, strict=True)].index(False)
        for s in recoloured
    }
    assert slots == {0, 1, 2}
    # No other kind of this small world wears three colours.
    assert all(s.geometry == spec.geometry for s in reshaped)
    assert {s.colours for s in related} == {("red", "blue")}


def test_a_relation_s_relatives_are_other_relations_and_exchanges() -> None:
    spec = Spec("cube", ("red", "blue"), "on", "cylinder")
    _, _, reshaped, related = groups(spec)
    assert {s.colours for s in reshaped} == {spec.colours}
    assert spec.geometry not in {s.geometry for s in reshaped}
    assert Geometry("cube", "next to", "cylinder") in {s.geometry for s in related}
    assert all(set(s.colours) == {"red", "blue"} for s in related)


def test_a_row_s_relatives_are_other_counts() -> None:
    related = groups(Spec("ball", ("red",), count=3))[3]
    assert {s.count for s in related} == {1, 2, 4}
    assert {(s.kind, s.colours) for s in related} == {("ball", ("red",))}


def test_one_colour_has_recoloured_ones_for_permuted_ones() -> None:
    permuted = groups(Spec("ball", ("red",)))[0]
    assert {s.geometry for s in permuted} == {Geometry("ball")}
    assert "red" not in {s.colours[0] for s in permuted}
