import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from engine import background
from engine.configs.background import BackgroundConfig
from engine.fields import Parameters

MAP = BackgroundConfig(kind="mlp", num_frequencies=2, num_layers=3, width=5)


def stir(config: BackgroundConfig, num_scenes: int) -> Parameters:
    initial = background.initial(config, torch.arange(num_scenes))
    return {name: p + 0.5 * torch.randn_like(p) for name, p in initial.items()}


def directions(num_scenes: int, num_rays: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(num_scenes, num_rays, 3), dim=-1)


def naive_environment(parameters: Parameters, scene: int, d: np.ndarray) -> np.ndarray:
    p = {name: value[scene].double().numpy() for name, value in parameters.items()}
    phase = np.concatenate([d, 2 * d])
    h = np.concatenate([np.sin(phase), np.cos(phase)])
    h = np.maximum(h @ p["background.w0"] + p["background.b0"][0], 0)
    h = np.maximum(h @ p["background.w1"] + p["background.b1"][0], 0)
    return h @ p["background.w2"] + p["background.b2"][0]


def test_a_plain_background_is_its_view_s_colour_and_has_no_parameters() -> None:
    config = BackgroundConfig()
    assert background.initial(config, torch.arange(2)) == {}
    plain, seed = torch.rand(2, 3, 3), torch.arange(2)
    actual = background.behind(config, {}, directions(2, 12), plain, seed, seed)
    for s, r in np.ndindex(2, 12):
        assert torch.equal(actual[s, r], plain[s, r // 4])


@pytest.mark.parametrize("activation", ["sigmoid", "shifted"])
def test_the_map_matches_the_naive_network(activation) -> None:
    config = replace(MAP, activation=activation)
    parameters, d, seed = stir(config, 2), directions(2, 6), torch.arange(2)
    actual = background.behind(config, parameters, d, torch.rand(2, 2, 3), seed, seed)
    for s, r in np.ndindex(2, 6):
        raw = naive_environment(parameters, s, d[s, r].double().numpy())
        expected = 1 / (1 + np.exp(-raw)) if activation == "sigmoid" else (raw + 1) / 2
        np.testing.assert_allclose(actual[s, r].numpy(), expected, rtol=1e-3, atol=1e-4)


def test_a_fresh_map_is_grey_and_its_scenes_are_their_seeds() -> None:
    together = background.initial(MAP, torch.tensor([4, 9, 4]))
    assert all(name.startswith(background.PREFIX) for name in together)
    colour = background.environment(MAP, together, directions(3, 5))
    torch.testing.assert_close(colour, torch.full((3, 5, 3), 0.5))
    alone = background.initial(MAP, torch.tensor([9]))
    for name, p in together.items():
        assert torch.equal(p[1], alone[name][0])
        assert torch.equal(p[0], p[2])
    assert not torch.equal(together["background.w0"][0], together["background.w0"][1])


def test_plain_colours_come_as_often_as_asked_for_and_by_view() -> None:
    config = replace(MAP, plain_chance=0.3)
    num_scenes, num_views = 40, 25
    parameters = stir(config, num_scenes)
    d, plain = directions(num_scenes, 2 * num_views), torch.full((num_scenes, num_views, 3), 7.0)
    seed, step = torch.arange(num_scenes), torch.full((num_scenes,), 3)
    actual = background.behind(config, parameters, d, plain, seed, step)
    is_plain = (actual == 7).all(dim=-1).view(num_scenes, num_views, 2)
    assert torch.equal(is_plain[..., 0], is_plain[..., 1])
    # 1000 coins: four standard deviations are .058.
    assert abs(float(is_plain.double().mean()) - 0.3) < 0.058
    elsewhere = background.environment(config, parameters, d).view(num_scenes, num_views, 2, 3)
    assert torch.equal(actual.view_as(elsewhere)[~is_plain], elsewhere[~is_plain])
    # The coins of a scene are its seed's and its step's.
    alone = background.behind(
        config,
        {name: p[7:8] for name, p in parameters.items()},
        d[7:8],
        plain[7:8],
        seed[7:8],
        step[7:8],
    )
    torch.testing.assert_close(alone[0], actual[7])
    later = background.behind(config, parameters, d, plain, seed, step + 1)
    assert not torch.equal((later == 7).all(dim=-1).view_as(is_plain), is_plain)


def test_the_map_is_trained() -> None:
    parameters = {name: p.requires_grad_() for name, p in stir(MAP, 1).items()}
    colour = background.environment(MAP, parameters, directions(1, 9))
    for gradient in torch.autograd.grad(colour.square().sum(), list(parameters.values())):
        assert float(gradient.abs().max()) > 0


@pytest.mark.parametrize("layers", [1, 2])
def test_a_map_may_have_fewer_layers(layers: int) -> None:
    config = replace(MAP, num_layers=layers)
    assert len(background.initial(config, torch.arange(1))) == 2 * layers
    assert background.environment(config, stir(config, 1), directions(1, 4)).shape == (1, 4, 3)


@pytest.mark.parametrize(
    "change",
    [
        {"plain_chance": 1.5},
        {"num_layers": 0},
        {"num_frequencies": 0},
    ],
)
def test_nonsense_is_refused(change: dict) -> None:
    with pytest.raises(ValueError, match="BackgroundConfig: expected"):
        replace(MAP, **change)


@pytest.mark.parametrize(
    ("name", "known"), [("kind", "plain or mlp"), ("activation", "sigmoid or shifted")]
)
def test_a_word_that_is_no_choice_is_refused_without_a_type_checker(name: str, known: str) -> None:
    program = f"from engine.configs.background import BackgroundConfig as B; B({name}='odd')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"ValueError: BackgroundConfig: expected {name} to be {known}; got" in done.stderr
