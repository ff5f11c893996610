import subprocess
import sys

import pytest

from engine import recipes
from engine.recipe import Recipe


def test_the_known_recipes() -> None:
    assert recipes.names() == ["primitives", "primitives_cpu", "smoke"]


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_has_the_name_it_is_known_by(name: str) -> None:
    recipe = recipes.get(name)
    assert recipe.name == name
    assert "\n" not in recipe.summary
    assert recipe.guidance == "primitives"
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_digests_tell_recipes_apart() -> None:
    digests = {recipes.get(name).digest() for name in recipes.names()}
    assert len(digests) == len(recipes.names())


def test_the_smoke_recipe_is_a_matter_of_seconds() -> None:
    smoke = recipes.get("smoke")
    assert smoke.iterations * smoke.views * smoke.render_size**2 < 10_000


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("primitive", "primitives"), ("primitives-cpu", "primitives_cpu"), ("smok", "smoke")],
)
def test_a_slip_of_the_pen_is_understood(wrong: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"unknown recipe '{wrong}'.*did you mean '{meant}'") as e:
        recipes.get(wrong)
    assert all(name in str(e.value) for name in recipes.names())


def test_a_name_like_no_other_gets_the_list_alone() -> None:
    with pytest.raises(ValueError, match=r"unknown recipe 'xyz': expected one of [a-z_, ]+$"):
        recipes.get("xyz")


@pytest.mark.parametrize(
    "module",
    [
        "engine",
        "engine.recipe",
        "engine.recipes",
        "engine.guidance",
        "engine.guidance.files",
        "engine.guidance.prompts",
    ],
)
def test_what_the_command_line_needs_is_free_of_torch(module: str) -> None:
    program = (
        f"import sys, {module}\n"
        "heavy = {'torch', 'numpy', 'diffusers', 'transformers', 'ray', 'jaxtyping'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
