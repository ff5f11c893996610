from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.configs.fields import MipMlpConfig, Normals
from engine.fields import MipMlp, Parameters
from engine.fields.mip_mlp import blur, encode

CONFIG = MipMlpConfig(num_frequencies=4, num_blocks=3, width=12)


def stir(num_scenes: int) -> Parameters:
    initial = MipMlp(CONFIG).initial(torch.arange(num_scenes))
    return {name: p + 0.3 * torch.randn_like(p) for name, p in initial.items()}


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def naive_encode(x: np.ndarray, spread: float) -> np.ndarray:
    """One point: all sines, then all cosines, from the lowest frequency to the highest."""
    phase = np.concatenate([2.0**level * x for level in range(CONFIG.num_frequencies)])
    scale = np.repeat(2.0 ** np.arange(CONFIG.num_frequencies), 3)
    kept = np.exp(-((scale * spread) ** 2) / 2)
    return np.concatenate([np.sin(phase) * kept, np.cos(phase) * kept])


def naive_query(
    parameters: Parameters, scene: int, x: np.ndarray, spread: float
) -> tuple[float, np.ndarray]:
    p = {name: value[scene].double().numpy() for name, value in parameters.items()}
    h = silu(naive_encode(x, spread) @ p["w_in"] + p["b_in"][0])
    for k in range(CONFIG.num_blocks):
        if k > 0:
            h = (h - h.mean()) / np.sqrt(h.var() + 1e-5)
            h = h * p["gain"][k - 1, 0] + p["shift"][k - 1, 0]
        inner = silu(h @ p["w1"][k] + p["b1"][k, 0])
        h = h + inner @ p["w2"][k] + p["b2"][k, 0]
    raw = silu(h) @ p["w_out"] + p["b_out"][0]
    ball = CONFIG.blob_density * np.exp(-(x @ x) / (2 * CONFIG.blob_radius**2))
    return np.exp(raw[0] + CONFIG.density_bias + ball), 1 / (1 + np.exp(-raw[1:]))


@pytest.mark.parametrize("spread", [0.05, 0.3])
def test_the_encoding_is_the_mean_over_the_gaussian(spread: float) -> None:
    """Monte Carlo over y from N(x, spread^2 I), to within five standard errors."""
    x = torch.rand(1, 4, 3, dtype=torch.float64) * 2 - 1
    actual = encode(x, torch.tensor([spread]), 4)[0].numpy()
    num_draws = 200_000
    around = np.random.default_rng(7).normal(size=(num_draws, 3)) * spread
    for p in range(4):
        y = x[0, p].numpy() + around
        phase = np.concatenate([2.0**level * y for level in range(4)], axis=1)
        values = np.concatenate([np.sin(phase), np.cos(phase)], axis=1)
        error = values.std(axis=0) / np.sqrt(num_draws)
        assert (np.abs(actual[p] - values.mean(axis=0)) < 5 * error + 1e-12).all()


def test_the_encoding_without_blur_is_the_plain_one() -> None:
    x = torch.rand(2, 3, 3) * 2 - 1
    actual = encode(x, torch.zeros(2), 4)
    assert actual.shape == (2, 3, 24)
    for s, p in np.ndindex(2, 3):
        expected = naive_encode(x[s, p].double().numpy(), 0.0)
        np.testing.assert_allclose(actual[s, p].numpy(), expected, atol=1e-5)


def test_the_blur_is_annealed_over_the_first_third_as_in_the_paper() -> None:
    steps = torch.tensor([0.0, 2_500.0, 5_000.0, 10_000.0, 15_000.0])
    actual = blur(MipMlpConfig(), steps / 15_000)
    torch.testing.assert_close(actual, torch.tensor([0.05, 0.026, 0.002, 0.002, 0.002]))


def test_density_and_albedo_match_the_naive_network() -> None:
    field, parameters = MipMlp(CONFIG), stir(2)
    x, part = torch.rand(2, 7, 3) * 2 - 1, torch.tensor([0.0, 0.2])
    samples = field.query(parameters, x, part, with_normal=False)
    density = field.density(parameters, x, part)
    for s, p in np.ndindex(2, 7):
        spread = 0.05 + (0.002 - 0.05) * float(part[s]) * 3
        sigma, albedo = naive_query(parameters, s, x[s, p].double().numpy(), spread)
        assert float(samples.sigma[s, p]) == pytest.approx(sigma, rel=1e-3)
        assert float(density[s, p]) == pytest.approx(sigma, rel=1e-3)
        np.testing.assert_allclose(samples.albedo[s, p].numpy(), albedo, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("normals", ["analytic", "differences"])
def test_normals_match_finite_differences_of_density(normals: Normals) -> None:
    field = MipMlp(replace(CONFIG, normals=normals, normal_step=1e-4))
    parameters = {name: p.double() for name, p in stir(2).items()}
    x, part = torch.rand(2, 15, 3, dtype=torch.float64) * 1.8 - 0.9, torch.tensor([0.1, 0.6])
    normal = field.query(parameters, x, part, with_normal=True).normal
    assert normal is not None
    h = 1e-6
    gradient = torch.stack(
        [
            (field.density(parameters, x + e, part) - field.density(parameters, x - e, part)) / 2
            for e in h * torch.eye(3, dtype=torch.float64)
        ],
        dim=-1,
    )
    expected = -torch.nn.functional.normalize(gradient / h, dim=-1)
    torch.testing.assert_close(normal, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("normals", ["analytic", "differences"])
def test_normals_can_be_trained_through(normals: Normals) -> None:
    field = MipMlp(replace(CONFIG, normals=normals, num_blocks=2, width=3))
    initial = field.initial(torch.arange(1))
    parameters = {n: (p + 0.3 * torch.randn_like(p)).double() for n, p in initial.items()}
    w1, w_out = (parameters[name].requires_grad_() for name in ("w1", "w_out"))
    x, part = torch.rand(1, 3, 3, dtype=torch.float64) - 0.5, torch.ones(1)
    cotangent = torch.randn(1, 3, 3, dtype=torch.float64)

    def loss(w1: torch.Tensor, w_out: torch.Tensor) -> torch.Tensor:
        changed = parameters | {"w1": w1, "w_out": w_out}
        normal = field.query(changed, x, part, with_normal=True).normal
        assert normal is not None
        return (normal * cotangent).sum()

    assert torch.autograd.gradcheck(loss, (w1, w_out), atol=1e-4)


def test_normals_come_without_gradients_where_none_are_kept() -> None:
    with torch.no_grad():
        samples = MipMlp(CONFIG).query(
            stir(1), torch.rand(1, 3, 3), torch.ones(1), with_normal=True
        )
    assert samples.normal is not None
    for values in (samples.normal, samples.sigma, samples.albedo):
        assert not values.requires_grad


def test_every_parameter_is_trained() -> None:
    field = MipMlp(CONFIG)
    parameters = {name: p.requires_grad_() for name, p in stir(1).items()}
    samples = field.query(parameters, torch.rand(1, 9, 3) - 0.5, torch.ones(1), with_normal=False)
    total = samples.sigma.sum() + samples.albedo.square().sum()
    for gradient in torch.autograd.grad(total, list(parameters.values())):
        assert float(gradient.abs().max()) > 0


def test_the_paper_s_network_has_its_size() -> None:
    p = MipMlp(MipMlpConfig()).initial(torch.tensor([1]))
    assert p["w_in"].shape == (1, 6 * 8, 128)
    assert p["w1"].shape == p["w2"].shape == (1, 5, 128, 128)
    assert p["gain"].shape == (1, 4, 1, 128)
    assert p["w_out"].shape == (1, 128, 4)


def test_initial_parameters_depend_on_the_scene_s_seed_alone() -> None:
    field = MipMlp(CONFIG)
    together = field.initial(torch.tensor([5, 6, 5]))
    alone = field.initial(torch.tensor([6]))
    for name, p in together.items():
        assert torch.equal(p[0], p[2])
        assert torch.equal(p[1], alone[name][0])
        assert p.is_contiguous()
    assert not torch.equal(together["w_in"][0], together["w_in"][1])
    assert not torch.equal(together["w1"], together["w2"])
    assert not torch.equal(together["w1"][0, 0], together["w1"][0, 1])
    a = np.sqrt(6 / CONFIG.width)
    assert 0.9 * a < float(together["w1"].abs().max()) <= a
