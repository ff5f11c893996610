"""The curve of evaluations: shares of a run, the knee in words, the chart; and the command."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from engine import recipes
from engine.studies import evaluations
from engine.studies.results import Result
from tests.engine.studies.fakes import Bench

SVG = "{http://www.w3.org/2000/svg}"


def result(name: str, iterations: int, *hits: bool) -> Result:
    """Scenes whose caption and shape are found, or neither."""
    scenes = [
        {
            "caption": "a red cube",
            "taken_for": "a red cube",
            "benchmark_place": None,
            "colour_place": 0 if hit else 9,
            "geometry_place": 0 if hit else 9,
            "colours_right": [True],
            "beats_swap": None,
            "chamfer": 0.1,
        }
        for hit in hits
    ]
    return Result(
        name=name,
        recipe=replace(recipes.get("primitives"), iterations=iterations),
        seconds=1.0,
        peak_bytes=None,
        ok=len(hits),
        caption_score=0.0,
        scenes=scenes,
        device="cpu",
    )


def test_the_curve_is_the_recipe_at_shares_of_its_steps() -> None:
    usual, fast = recipes.get("primitives"), recipes.get("primitives_fast")
    curve = evaluations.variations(usual, fast)[:5]
    assert [v.name for v in curve] == ["x 1/8", "x 1/4", "x 1/2", "x 1", "x 2"]
    assert [v.recipe.iterations for v in curve] == [50, 100, 200, 400, 800]
    assert curve[3].recipe == usual
    assert all(replace(v.recipe, iterations=400) == usual for v in curve)


def test_the_knee_is_the_gain_of_twice_the_steps() -> None:
    found = [
        result("x 1", 400, True, True, False, False),
        result("x 2", 800, True, True, True, False),
    ]
    said = evaluations.knee(found)
    assert "colour retrieval +25.0, geometry retrieval +25.0, score +10.0" in said
    assert evaluations.knee(found[::-1]) == said
    assert "not there yet" in evaluations.knee(found[:1])


def test_the_chart_joins_the_curve_and_leaves_candidates_alone() -> None:
    found = [
        result("x 1/2", 200, True, False),
        result("x 1", 400, True, True),
        result("fast", 100, True, True),
    ]
    root = ET.fromstring(evaluations.drawn(found))
    lines = root.findall(f"{SVG}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [2, 2]
    titles = [node.text for node in root.iter(f"{SVG}title")]
    assert titles == ["x 1/2", "x 1", "fast"] * 2


def test_the_command(studies: Bench, tmp_path: Path) -> None:
    flags = [*studies.flags(tmp_path), "--fast", "smoke", "--only", "x [12]", "--only", "fast"]
    evaluations.main(flags)
    document = json.loads((tmp_path / "results.json").read_text())
    assert [row["evaluations"] for row in document["results"]] == [6, 12, 6]
    # Tuning looks at dev through J1.
    assert (document["split"], document["judge"]) == ("dev", "j1")
    assert "Twice the steps" in (tmp_path / "table.md").read_text()
    assert ET.parse(tmp_path / "curve.svg").getroot().tag == f"{SVG}svg"


@pytest.mark.parametrize("recipe", ["primitives_cpu", "smoke"])
def test_any_recipe_has_a_curve(recipe: str) -> None:
    base = recipes.get(recipe)
    curve = evaluations.variations(base, recipes.get("primitives_fast"))[:5]
    assert [v.recipe.iterations for v in curve][-2:] == [base.iterations, 2 * base.iterations]
    assert min(v.recipe.iterations for v in curve) >= 1
