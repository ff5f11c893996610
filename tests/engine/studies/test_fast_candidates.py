"""The candidates for `fast`: how many evaluations, and what each changes."""

import pytest

from engine import recipes
from engine.studies.fast_candidates import candidates
from tests.engine.studies.test_ablation import differences

FAST = recipes.get("primitives_fast")
FOUND = {variation.name: variation.recipe for variation in candidates(FAST)}


def test_none_takes_more_than_its_name_says() -> None:
    for name, recipe in FOUND.items():
        most = 700 if name.startswith("fast 700") else 400
        assert most - recipe.views < recipe.iterations * recipe.evaluations_a_step <= most, name


def test_the_recipe_itself_comes_first_and_each_other_changes_one_thing() -> None:
    names = list(FOUND)
    assert names[0] == "fast"
    assert FOUND["fast"] == FAST
    for name in names[1:]:
        changed = differences(FAST, FOUND[name])
        spread = {"iterations", "views", "optimiser.lr"}
        assert len(changed) == 1 or set(changed) <= spread, name
    assert len({recipe.digest() for recipe in FOUND.values()}) == len(names)


def test_with_more_steps_the_rate_falls_so_that_they_go_as_far() -> None:
    two, four = FOUND["fast: views=2"], FOUND["fast: views=4"]
    assert (two.views, two.iterations, four.views, four.iterations) == (2, 200, 4, 100)
    for recipe in (two, four, FOUND["fast 700: views=2"], FOUND["fast 700: views=1"]):
        far = [rate * recipe.iterations for rate in recipe.optimiser.lr]
        assert far == pytest.approx([rate * FAST.iterations for rate in FAST.optimiser.lr])
