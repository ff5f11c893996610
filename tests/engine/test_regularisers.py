from dataclasses import replace

import pytest
import torch

from engine import fields, losses, regularisers
from engine.configs.fields import DenseGridConfig
from engine.configs.losses import LossConfig
from engine.render import Rendering

FIELD = fields.build(DenseGridConfig(resolutions=(4,)))
PART = torch.tensor([0.0, 0.25, 0.5, 1.0])
EVERY = LossConfig(
    opacity=2.0,
    entropy=(1.0, 3.0),
    distortion=0.5,
    total_variation=4.0,
    orientation=(0.1, 10.0),
    orientation_until=0.5,
)


@pytest.fixture(scope="module")
def rendering() -> Rendering:
    generator = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(4, 5, *shape, generator=generator)

    weights = rand(3) / 3
    return Rendering(
        picture=torch.zeros(4, 1, 3, 1, 5),
        opacity=weights.sum(-1),
        weights=weights,
        distance=rand(3).sort(dim=-1).values,
        delta=rand(3),
        normal=torch.nn.functional.normalize(rand(3, 3) - 0.5, dim=-1),
        directions=torch.nn.functional.normalize(rand(3) - 0.5, dim=-1),
    )


def test_weights_are_annealed_as_the_recipe_says(rendering: Rendering) -> None:
    parameters = FIELD.initial(torch.arange(4))
    parameters["grid4"] = torch.randn(parameters["grid4"].shape)
    terms = regularisers.weighted(EVERY, FIELD, parameters, rendering, PART)
    r, normal = rendering, rendering.normal
    assert normal is not None
    expected = {
        "opacity": 2.0 * losses.opacity(r.opacity),
        "entropy": torch.tensor([1.0, 1.5, 2.0, 3.0]) * losses.entropy(r.opacity),
        "distortion": 0.5 * losses.distortion(r.weights, r.distance, r.delta),
        "total_variation": 4.0 * FIELD.total_variation(parameters),
        "orientation": torch.tensor([0.1, 5.05, 10.0, 10.0])
        * losses.orientation(r.weights, normal, r.directions),
    }
    assert terms.keys() == expected.keys()
    for name, term in terms.items():
        assert (term > 0).all()
        torch.testing.assert_close(term, expected[name])


def test_what_weighs_nothing_is_left_out(rendering: Rendering) -> None:
    parameters = FIELD.initial(torch.arange(4))
    bare = replace(rendering, normal=None)
    assert regularisers.weighted(LossConfig(), FIELD, parameters, bare, PART) == {}
    late = LossConfig(entropy=(0.0, 1.0))
    assert list(regularisers.weighted(late, FIELD, parameters, bare, PART)) == ["entropy"]
