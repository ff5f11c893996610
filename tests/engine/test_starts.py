from dataclasses import replace

import pytest
import torch

from engine import occupancy, recipes
from engine.configs.background import BackgroundConfig
from engine.configs.fields import HashGridConfig
from engine.fields import HashGrid
from engine.gang import Gang, SceneRequest
from engine.recipe import Recipe
from engine.starts import Starts
from tests.engine.fakes import DiscGuidance

HASH = HashGridConfig(num_levels=2, log2_size=8, base_resolution=2, finest_resolution=6, hidden=5)


def recipe() -> Recipe:
    return replace(
        recipes.get("smoke"), field=HASH, background=BackgroundConfig(kind="mlp", width=4)
    )


def starts() -> Starts:
    return Starts(recipe(), torch.device("cpu"))


def test_parameters_are_those_of_the_field_and_the_background() -> None:
    seed = torch.tensor([3, 4])
    found = starts().parameters(seed)
    field = HashGrid(HASH).initial(seed)
    assert all(torch.equal(found[name], p) for name, p in field.items())
    assert set(found) - set(field) == {f"background.{x}{k}" for x in "wb" for k in range(3)}


def test_a_fresh_scene_is_one_row_without_a_past() -> None:
    state = starts().fresh(4)
    both = starts().parameters(torch.tensor([3, 4]))
    for name, p in both.items():
        assert torch.equal(state.parameters[name], p[1])
        assert not state.first[name].any()
        assert not state.second[name].any()
    grid_size = recipe().march.grid_size
    assert torch.equal(state.density, occupancy.initial(HashGrid(HASH), both, grid_size)[1])
    assert state.health.tolist() == [0, 0, 0]


def test_a_checkpoint_of_no_step_is_the_fresh_scene() -> None:
    gang = Gang(recipe(), DiscGuidance(), num_slots=1)
    gang.add(SceneRequest(key="a", prompt="red disc", seed=4))
    found, fresh = starts().resumed(gang.save("a")), starts().fresh(4)
    for name, p in fresh.parameters.items():
        assert torch.equal(found.parameters[name], p)
    torch.testing.assert_close(found.density, fresh.density, rtol=1e-3, atol=1e-6)


def test_a_checkpoint_of_another_recipe_is_refused() -> None:
    gang = Gang(replace(recipe(), iterations=99), DiscGuidance(), num_slots=1)
    gang.add(SceneRequest(key="a", prompt="red disc", seed=4))
    with pytest.raises(ValueError, match="checkpoint: expected recipe_digest"):
        starts().resumed(gang.save("a"))
