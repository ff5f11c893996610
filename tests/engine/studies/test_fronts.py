"""Fronts: the answers by hand, of true shapes with one face and with two; the command."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from engine import recipes
from engine.evaluation.judge import Judge
from engine.evaluation.lexicon import Lexicon
from engine.evaluation.stage import show_scenes
from engine.evaluation.view_words import references
from engine.primitives.captions import parse
from engine.studies import fronts
from tests.engine.studies.fakes import Bench, MeanColourJudge
from tests.true_scenes import true_scene

KNOWN = torch.eye(4)[None]
"""References of front, side, back and overhead that have nothing in common."""


def seen(words: str) -> torch.Tensor:
    """Eight views that look like f(ront), s(ide) or b(ack), at azimuths 0, 45, ..."""
    return torch.stack([KNOWN[0, "fsb".index(letter)] for letter in words])[None]


@pytest.mark.parametrize(
    ("words", "back_as_front", "two_fronts"),
    [
        ("fssbbbss", False, False),
        ("ffsbbbsf", False, False),
        # A face on either side; then the same turned by a quarter, where the view of the back is
        # as near to a front as to a back: a tie counts against the asset.
        ("fsssfsss", True, True),
        ("ssfsssfs", True, True),
        # One face, which looks sideways, and one that looks the wrong way.
        ("sffsbbbs", False, False),
        ("bbssfsss", True, False),
    ],
)
def test_answers_by_hand(words: str, back_as_front: bool, two_fronts: bool) -> None:
    (row,) = fronts.looks(seen(words), KNOWN)
    assert row["back_as_front"] is back_as_front
    assert row["two_fronts"] is two_fronts
    expected = float(words[0] == words[4]) - float(words[2] == words[6])
    assert row["janus"] == expected


def test_variants_differ_in_their_view_prompts_alone() -> None:
    usual = recipes.get("primitives")
    found = fronts.variations(usual)
    asked = [(v.recipe.distillation.prompt_views, v.recipe.distillation.perp_neg) for v in found]
    assert asked == [
        ("none", False),
        ("nearest", False),
        ("interpolated", False),
        ("interpolated", True),
    ]
    assert found[1].recipe == usual
    assert [v.recipe.evaluations_a_step for v in found] == [4, 4, 4, 8]


def test_scenes_are_as_many_of_each_kind_and_never_twice() -> None:
    found = fronts.fronted("test", 42, seed=5)
    assert len(set(found)) == 42
    assert Counter(spec.kind for spec in found) == dict.fromkeys(fronts.FRONTED, 6)
    assert all(not spec.relation and spec.count == 1 for spec in found)
    assert fronts.fronted("test", 10, seed=5) == found[:10]
    assert fronts.fronted("test", 10, seed=6) != found[:10]
    with pytest.raises(ValueError, match=r"--prompts: expected 1 to [0-9]+ scenes with a front"):
        fronts.fronted("test", 100_000, seed=5)


def test_a_scene_that_failed_is_not_asked() -> None:
    scenes = [
        {"two_fronts": True, "taken_for": "a red car"},
        {"two_fronts": False, "taken_for": None},
        {"two_fronts": True},
    ]
    assert fronts.mean(scenes, "two_fronts") == 1.0
    assert fronts.mean([scenes[0], {**scenes[0], "two_fronts": False}], "two_fronts") == 0.5


def test_a_second_face_is_seen_by_the_judge() -> None:
    duck = parse("a red duck with yellow beak")
    lexicon = Lexicon.__new__(Lexicon)
    lexicon.judge = Judge.load("j2")
    colour = show_scenes([true_scene(duck), true_scene(duck, is_janus=True)]).colour
    known = references([duck, duck], lexicon, torch.device("cpu"))
    views = lexicon.look(colour.flatten(0, 1)).unflatten(0, (2, 8))
    one, two = fronts.looks(views, known)
    assert (one["back_as_front"], one["two_fronts"]) == (False, False)
    assert (two["back_as_front"], two["two_fronts"]) == (True, True)


@pytest.mark.slow
def test_the_kinds_have_fronts_that_the_judge_sees() -> None:
    specs = fronts.fronted("test", 2 * len(fronts.FRONTED), seed=3)
    lexicon = Lexicon.__new__(Lexicon)
    lexicon.judge = Judge.load("j2")
    rows = fronts.truth(specs, lexicon, torch.device("cpu"))
    assert fronts.mean(rows, "back_as_front") <= 0.15
    assert fronts.mean(rows, "two_fronts") <= 0.15
    assert fronts.mean(rows, "janus") < -0.05


def test_the_command(studies: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def known(specs: list, lexicon: Lexicon, device: torch.device) -> torch.Tensor:
        assert isinstance(lexicon.judge, MeanColourJudge)
        return torch.eye(3)[None].expand(len(specs), -1, -1)

    monkeypatch.setattr(fronts, "references", known)
    fronts.main([*studies.flags(tmp_path), "--only", "no*", "--only", "*Perp-Neg"])
    document = json.loads((tmp_path / "results.json").read_text())
    rows = document["results"]
    assert [(row["name"], row["evaluations"]) for row in rows] == [
        ("no view prompts", 6),
        ("blended, Perp-Neg", 12),
    ]
    assert [scene["kind"] for scene in rows[0]["scenes"]] == ["house", "car"]
    assert {"back_as_front", "two_fronts", "janus"} <= set(rows[0]["scenes"][0])
    table = (tmp_path / "table.md").read_text()
    assert "| back as front | two fronts | janus |" in table
    assert "True shapes of the same scenes: back as front " in table
