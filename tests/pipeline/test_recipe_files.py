"""Recipes by name, out of a file, and out of an earlier run."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from engine import recipes
from pipeline import recipe_files
from pipeline.errors import UserError
from tests.pipeline.sample_assets import sample_run

SMOKE = recipes.get("smoke")
OWN = dataclasses.replace(SMOKE, name="mine", iterations=7)


def written(path: Path, document: Any) -> str:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(path)


def test_a_name_is_the_library_s_recipe() -> None:
    assert recipe_files.find("smoke") == SMOKE
    with pytest.raises(UserError, match=r"unknown recipe 'smoky'.*did you mean 'smoke'"):
        recipe_files.find("smoky")


def test_a_file_is_the_recipe_in_it(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.json", OWN.to_dict())
    assert recipe_files.find(path) == OWN
    assert recipe_files.find(f"file://{path}") == OWN


def test_of_a_run_its_default_recipe_is_taken(tmp_path: Path) -> None:
    run = dataclasses.replace(
        sample_run(),
        recipes={"smoke": SMOKE.to_dict(), "mine": OWN.to_dict()},
        details={"recipe": "mine"},
    )
    assert recipe_files.find(written(tmp_path / "run.json", run.to_dict())) == OWN


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "expected JSON"),
        ([1], "expected an object"),
        ({"name": "mine"}, "Recipe: missing setting"),
        (OWN.to_dict() | {"colour": 1}, "Recipe: unknown setting colour"),
        (OWN.to_dict() | {"views": "two"}, "Recipe.views: expected int, got 'two'"),
        (OWN.to_dict() | {"views": 0}, "Recipe: expected at least one step and one view"),
        ({"recipes": {"smoke": {}}, "details": {"recipe": "mine"}}, "expected its default recipe"),
        ({"recipes": {"smoke": {}}}, "expected its default recipe"),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path: Path, document: Any, message: str) -> None:
    path = written(tmp_path / "odd.json", document)
    with pytest.raises(UserError, match=message) as error:
        recipe_files.find(path)
    assert str(error.value).startswith(f"recipe {path}: ")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no\.json: No such file"):
        recipe_files.find(str(tmp_path / "no.json"))


@pytest.mark.parametrize("name", ["mine.csv", "primitive"])
def test_a_file_of_another_name_is_no_misspelt_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = written(tmp_path / name, OWN.to_dict())
    monkeypatch.chdir(tmp_path)
    for url in (name, path, f"file://{path}"):
        message = f"^recipe {re.escape(url)}: expected a file of JSON whose name ends in \\.json$"
        with pytest.raises(UserError, match=message):
            recipe_files.find(url)


def test_a_recipe_of_the_library_comes_before_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "smoke", OWN.to_dict())
    monkeypatch.chdir(tmp_path)
    assert recipe_files.find("smoke") == SMOKE


def test_a_sheet_holds_every_setting() -> None:
    lines = recipe_files.sheet(SMOKE).splitlines()
    assert lines[0].split() == ["name", "smoke"]
    assert "distillation.scale" in {line.split()[0] for line in lines}
    assert len(lines) == len({line.split()[0] for line in lines}) > 60
