"""Manners of running a recipe: which they are, how they are compared; the command."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import recipes
from engine.evaluation.manner import Manner
from engine.evaluation.verdict import Verdict
from engine.primitives.grammar import Spec
from engine.studies import precision
from engine.studies.results import Result
from tests.engine.studies.fakes import Bench

RECIPE = recipes.get("primitives")
KINDS = ("ball", "cube", "cone", "torus", "house", "duck", "car", "cup")


def scene(
    kind: str, *, found: bool = True, far: float | None = 0.05, sds: float | None = 1.0
) -> Any:
    verdict = Verdict(
        spec=Spec(kind, ("red",)),
        taken_for=None,
        colour_place=0 if found else 3,
        geometry_place=0,
        colours_right=(found,),
        beats_swap=None,
    )
    return {**verdict.as_row(), "chamfer": far, "losses": {"sds": sds}}


def result(name: str, scenes: list[Any]) -> Result:
    return Result(
        name=name,
        recipe=RECIPE,
        seconds=1.0,
        peak_bytes=None,
        ok=len(scenes),
        caption_score=0.0,
        scenes=scenes,
        device="cpu",
    )


FIRST = result("as shipped", [scene(kind) for kind in KINDS])


def test_one_recipe_in_four_manners() -> None:
    usual = Manner(compiled=True, captured=True)
    found = {v.name: v for v in precision.variations(RECIPE, usual)}
    assert {v.recipe for v in found.values()} == {RECIPE}
    manners = {name: v.manner for name, v in found.items()}
    assert manners == {
        "as shipped": Manner(slots=8, compiled=True, captured=True),
        "as shipped, again": Manner(slots=8, compiled=True, captured=True),
        "float32": Manner(slots=8, compiled=True, captured=True, is_exact=True),
        "alone": Manner(slots=1, compiled=True, captured=True),
    }
    three = precision.variations(RECIPE, Manner(slots=3))
    assert [v.manner.slots for v in three if v.manner] == [3, 3, 3, 1]


def test_scenes_are_compared_by_their_captions_and_those_that_both_have() -> None:
    other = result("x", [scene("cone", found=False), scene("ball", far=None, sds=1.5)])
    found = precision.compared(FIRST, other)
    assert list(found) == ["colour retrieval", "geometry retrieval", "chamfer", "sds"]
    counts = {name: (p.higher, p.lower, p.equal) for name, p in found.items()}
    assert counts == {
        "colour retrieval": (0, 1, 1),
        "geometry retrieval": (0, 0, 2),
        "chamfer": (1, 0, 1),
        "sds": (1, 0, 1),
    }


def test_what_is_within_noise_and_what_is_not() -> None:
    same = result("again", [scene(kind, far=0.06) for kind in KINDS[:6]])
    said = precision.in_words(FIRST, same)
    assert said.startswith("again, against as shipped:\n")
    assert "- colour retrieval: 0 scenes gained, 0 lost, 6 as before (p 1.00)" in said
    # Six of six: p = 2 / 64, which is more than the .05 / 4 that four questions ask for.
    assert "- chamfer: higher in 6, lower in 0, median +0.01 (p 0.03)" in said
    assert said.endswith("- within noise, at 0.05 / 4\n")
    # Eight of eight: p = 2 / 256.
    worse = precision.in_words(FIRST, result("worse", [scene(kind, far=None) for kind in KINDS]))
    assert worse.endswith("- more than noise in chamfer, at 0.05 / 4\n")


def test_losses_are_medians_and_one_that_is_no_number_counts_as_the_highest() -> None:
    scenes = [scene("ball", sds=None), scene("cube", sds=2.0), scene("cone", sds=1.0)]
    assert precision.losses(result("", scenes)) == {"sds": 2.0}


def test_the_command(studies: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = studies.flags(tmp_path)
    precision.main([*flags, "--only", "alone"])
    assert "against" not in (tmp_path / "table.md").read_text()
    precision.main(flags)
    made = [(gang.num_slots, gang.is_exact) for gang in studies.gangs]
    assert made == [(1, False), (2, False), (2, False), (2, True)]
    document = json.loads((tmp_path / "results.json").read_text())
    assert [row["name"] for row in document["results"]] == [
        "as shipped",
        "as shipped, again",
        "float32",
        "alone",
    ]
    assert document["results"][2]["manner"] == {
        "slots": 2,
        "is_exact": True,
        "compiled": False,
        "captured": True,
    }
    table = (tmp_path / "table.md").read_text()
    assert "| last losses, medians |" in table
    assert "sds " in table.splitlines()[2]
    # In float32 on a CPU nothing differs between the first three.
    assert (
        "float32, against as shipped:\n- colour retrieval: 0 scenes gained, 0 lost, 2 as" in table
    )
    assert "- sds: higher in 0, lower in 0, median +0 (p 1.00)" in table
    assert table.count("within noise, at") == 3
    assert "alone, against as shipped" in capsys.readouterr().out
    # Nothing is made twice; another manner is another study.
    precision.main(flags)
    assert len(studies.gangs) == 4
    precision.main([*flags, "--launched", "--only", "alone"])
    assert len(studies.gangs) == 5


def test_a_loss_that_is_missing_is_a_mistake() -> None:
    lost = replace(FIRST, scenes=[{**FIRST.scenes[0], "losses": {}}])
    with pytest.raises(KeyError, match="sds"):
        precision.compared(FIRST, lost)
