import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine import sds
from engine.configs.distillation import DistillationConfig
from engine.philox import Purpose, normal
from tests.engine.fakes import RecordingGuidance, schedule

CONFIG = DistillationConfig(scale=7.0)


def ask(
    config: DistillationConfig,
    num_scenes: int = 2,
    num_views: int = 3,
    dtype: torch.dtype = torch.float32,
) -> tuple:
    """One call with random pictures, texts and times: the inputs and the answer."""
    guidance = RecordingGuidance(alphas_cumprod=schedule().to(dtype))
    x = torch.rand(num_scenes, num_views, 3, 8, 8, dtype=dtype) * 2 - 1
    text, negative = torch.randn(2, num_scenes, num_views, 3, 4, dtype=dtype)
    time = torch.rand(num_scenes, num_views) * 0.96 + 0.02
    seed, step = torch.arange(num_scenes) + 40, torch.arange(num_scenes) * 3
    gradient = sds.picture_gradient(guidance, x, text, negative, time, seed, step, config)
    return guidance, x, text, negative, time, seed, step, gradient


def naive_gradient(
    config: DistillationConfig,
    x: np.ndarray,
    eps: np.ndarray,
    text: np.ndarray,
    negative: np.ndarray,
    time: float,
) -> np.ndarray:
    """Equation 3 for one picture, with the model written out."""
    index = math.floor(time * 1000)
    alpha_squared = float(schedule()[index])
    sigma_squared = 1 - alpha_squared
    z = math.sqrt(alpha_squared) * x + math.sqrt(sigma_squared) * eps

    def model(condition: np.ndarray) -> np.ndarray:
        return np.sin(3 * z + index / 1000) + condition.mean()

    if config.form == "interpolate":
        eps_hat = model(negative) + config.scale * (model(text) - model(negative))
    else:
        eps_hat = (1 + config.scale) * model(text) - config.scale * model(negative)
    weight = sigma_squared if config.weighting == "sigma_squared" else 1.0
    return weight * (eps_hat - eps)


@pytest.mark.parametrize("form", ["interpolate", "extrapolate"])
@pytest.mark.parametrize("weighting", ["sigma_squared", "uniform"])
def test_gradient_is_weighted_difference_of_predicted_and_true_noise(
    form: Literal["interpolate", "extrapolate"],
    weighting: Literal["sigma_squared", "uniform"],
) -> None:
    config = replace(CONFIG, form=form, weighting=weighting)
    _, x, text, negative, time, seed, step, gradient = ask(config, dtype=torch.double)
    assert gradient.dtype == torch.double
    eps = normal(seed, step, Purpose.NOISE, (3, 3, 8, 8))
    for s, v in np.ndindex(2, 3):
        x_, eps_, text_, negative_ = (
            value[s, v].double().numpy() for value in (x, eps, text, negative)
        )
        expected = naive_gradient(config, x_, eps_, text_, negative_, float(time[s, v]))
        np.testing.assert_allclose(gradient[s, v].numpy(), expected, rtol=1e-9, atol=1e-9)


def test_the_model_is_asked_once_for_everything_negatives_first() -> None:
    guidance, x, text, negative, time, seed, step, _ = ask(CONFIG)
    ((z, t, asked),) = guidance.calls
    assert z.shape == (12, 3, 8, 8)
    assert torch.equal(z[:6], z[6:])
    assert torch.equal(t, (time.flatten() * 1000).long().repeat(2))
    assert torch.equal(asked, torch.cat([negative.flatten(0, 1), text.flatten(0, 1)]))
    # alpha^2 + sigma^2 = 1: the noise can be recovered from what was asked.
    alpha_squared = schedule()[t[:6]].view(2, 3, 1, 1, 1)
    eps = (z[:6].view_as(x) - alpha_squared.sqrt() * x) / (1 - alpha_squared).sqrt()
    expected = normal(seed, step, Purpose.NOISE, (3, 3, 8, 8))
    torch.testing.assert_close(eps, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("gradient", ["score", "full"])
def test_a_scene_s_gradient_does_not_depend_on_its_neighbours(
    gradient: Literal["score", "full"],
) -> None:
    config = replace(CONFIG, gradient=gradient)
    _, x, text, negative, time, seed, step, together = ask(config, num_scenes=3)
    for s in range(3):
        one = slice(s, s + 1)
        alone = sds.picture_gradient(
            RecordingGuidance(),
            x[one],
            text[one],
            negative[one],
            time[one],
            seed[one],
            step[one],
            config,
        )
        torch.testing.assert_close(alone[0], together[s])


@dataclass
class CoupledGuidance(RecordingGuidance):
    """A model in double precision in which every pixel sees every other, but no other picture."""

    size: int = 2
    alphas_cumprod: Tensor = field(default_factory=lambda: schedule().double())
    coupling: Tensor = field(default_factory=lambda: torch.randn(12, 12, dtype=torch.double) / 3)
    """Not symmetric, so that the Jacobian is not its own transpose."""

    def predict_noise(self, z_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """tanh(K z_t mean text + t / 1000)."""
        gain, phase = text.mean((1, 2))[:, None], t[:, None].double() / 1000
        return torch.tanh(z_t.flatten(1) @ self.coupling.T * gain + phase).view_as(z_t)


def diffusion_loss(
    config: DistillationConfig,
    coupling: np.ndarray,
    x: np.ndarray,
    eps: np.ndarray,
    gains: tuple[float, float],
    time: float,
) -> float:
    """w/2 |eps_hat - eps|^2 of one picture under `CoupledGuidance`, pixel by pixel.

    `gains` are the means of the text and of the negative one.
    """
    index = math.floor(time * 1000)
    alpha_squared = float(schedule()[index])
    z = math.sqrt(alpha_squared) * x.ravel() + math.sqrt(1 - alpha_squared) * eps.ravel()
    squares = 0.0
    for pixel, noise in enumerate(eps.ravel()):
        mixed = sum(k * value for k, value in zip(coupling[pixel], z, strict=True))
        text, negative = (math.tanh(mixed * gain + index / 1000) for gain in gains)
        base = negative if config.form == "interpolate" else text
        squares += (base + config.scale * (text - negative) - noise) ** 2
    return (1 - alpha_squared if config.weighting == "sigma_squared" else 1.0) / 2 * squares


@pytest.mark.parametrize("form", ["interpolate", "extrapolate"])
@pytest.mark.parametrize("weighting", ["sigma_squared", "uniform"])
def test_the_full_gradient_is_the_slope_of_the_diffusion_loss(
    form: Literal["interpolate", "extrapolate"],
    weighting: Literal["sigma_squared", "uniform"],
) -> None:
    config = replace(CONFIG, form=form, weighting=weighting, gradient="full")
    guidance = CoupledGuidance()
    x = torch.rand(2, 2, 3, 2, 2, dtype=torch.double) * 2 - 1
    text, negative = torch.rand(2, 2, 2, 3, 4, dtype=torch.double)
    time = torch.tensor([[0.1005, 0.4005], [0.7005, 0.9505]])
    seed, step = torch.tensor([5, 6]), torch.tensor([0, 9])
    gradient = sds.picture_gradient(guidance, x, text, negative, time, seed, step, config)
    assert gradient.dtype == torch.double
    noise = normal(seed, step, Purpose.NOISE, (2, 3, 2, 2))
    for s, v in np.ndindex(2, 2):
        gains = float(text[s, v].mean()), float(negative[s, v].mean())
        eps, at = noise[s, v].double().numpy(), float(time[s, v])

        def loss(x_: np.ndarray, gains=gains, eps=eps, at=at) -> float:
            return diffusion_loss(config, guidance.coupling.numpy(), x_, eps, gains, at)

        expected = slope(loss, x[s, v].numpy())
        np.testing.assert_allclose(gradient[s, v].numpy(), expected, rtol=1e-7, atol=1e-8)


def perp_neg_gradient(
    config: DistillationConfig,
    model: Callable[[np.ndarray, float], np.ndarray],
    z: np.ndarray,
    eps: np.ndarray,
    means: tuple[float, float],
    denied: list[tuple[float, float]],
    sigma_squared: float,
) -> np.ndarray:
    """Perp-Neg's gradient of one picture: `means` of text and negative one, `denied` pairs of a
    text's mean and its weight; the perpendicular part by projection on an orthonormal basis."""
    text, negative = (model(z, mean).ravel() for mean in means)
    asked = text - negative
    # Columns: the direction asked for, then a basis of all that is perpendicular to it.
    basis = scipy.linalg.null_space(asked[None])
    total = asked.copy()
    for mean, weight in denied:
        other = model(z, mean).ravel() - negative
        total += weight * basis @ (basis.T @ other)
    strength = config.scale if config.form == "interpolate" else 1 + config.scale
    residual = negative + strength * total - eps.ravel()
    weight = sigma_squared if config.weighting == "sigma_squared" else 1.0
    return weight * residual


@pytest.mark.parametrize("form", ["interpolate", "extrapolate"])
@pytest.mark.parametrize("weighting", ["sigma_squared", "uniform"])
def test_denied_texts_push_across_what_is_asked_for(
    form: Literal["interpolate", "extrapolate"],
    weighting: Literal["sigma_squared", "uniform"],
) -> None:
    config = replace(
        CONFIG, form=form, weighting=weighting, perp_neg=True, prompt_views="interpolated"
    )
    guidance = CoupledGuidance()
    x = torch.rand(2, 2, 3, 2, 2, dtype=torch.double) * 2 - 1
    text, negative = torch.rand(2, 2, 2, 3, 4, dtype=torch.double)
    others = torch.rand(2, 2, 2, 3, 4, dtype=torch.double)
    weight = -torch.rand(2, 2, 2, dtype=torch.double)
    weight[1, 1] = 0.0
    time = torch.tensor([[0.1005, 0.4005], [0.7005, 0.9505]])
    seed, step = torch.tensor([5, 6]), torch.tensor([0, 9])
    question = (guidance, x, text, negative, time, seed, step, config)
    gradient = sds.picture_gradient(*question, sds.Denial(text=others, weight=weight))
    plain = sds.picture_gradient(*question)
    noise = normal(seed, step, Purpose.NOISE, (2, 3, 2, 2)).double().numpy()
    for s, v in np.ndindex(2, 2):
        index = math.floor(float(time[s, v]) * 1000)
        alpha_squared = float(schedule()[index])
        z = math.sqrt(alpha_squared) * x[s, v].numpy()
        z = (z + math.sqrt(1 - alpha_squared) * noise[s, v]).ravel()

        def model(z: np.ndarray, mean: float, index: int = index) -> np.ndarray:
            return np.tanh(guidance.coupling.numpy() @ z * mean + index / 1000)

        expected = perp_neg_gradient(
            config,
            model,
            z,
            noise[s, v],
            (float(text[s, v].mean()), float(negative[s, v].mean())),
            [(float(others[s, v, n].mean()), float(weight[s, v, n])) for n in range(2)],
            1 - alpha_squared,
        )
        np.testing.assert_allclose(gradient[s, v].numpy().ravel(), expected, rtol=1e-9, atol=1e-9)
        assert torch.allclose(gradient[s, v], plain[s, v]) == ((s, v) == (1, 1))


def test_the_denied_direction_is_perpendicular_and_survives_a_text_that_asks_for_nothing() -> None:
    asked = torch.randn(1, 2, 3, 4, 4, dtype=torch.double)
    asked[0, 1] = 0.0
    others = torch.randn(1, 2, 2, 3, 4, 4, dtype=torch.double)
    weight = -torch.rand(1, 2, 2, dtype=torch.double)
    found = sds.denied_direction(asked, others, weight)
    assert abs(float((found[0, 0] * asked[0, 0]).sum())) < 1e-10
    torch.testing.assert_close(
        found[0, 1], (weight[0, 1, :, None, None, None] * others[0, 1]).sum(0)
    )


def test_the_model_is_asked_for_denied_texts_in_the_same_forward() -> None:
    guidance = RecordingGuidance()
    x, text = torch.rand(2, 3, 3, 8, 8), torch.randn(2, 3, 3, 4)
    others = torch.randn(2, 3, 2, 3, 4)
    seed = torch.tensor([1, 2])
    denial = sds.Denial(text=others, weight=-torch.ones(2, 3, 2))
    time = torch.full((2, 3), 0.5)
    sds.picture_gradient(guidance, x, text, text * 0, time, seed, seed, CONFIG, denial)
    ((z, t, asked),) = guidance.calls
    assert z.shape == (24, 3, 8, 8)
    assert torch.equal(t, torch.full((24,), 500))
    expected = [text * 0, text, others[:, :, 0], others[:, :, 1]]
    assert torch.equal(asked, torch.cat([part.flatten(0, 1) for part in expected]))


@pytest.mark.parametrize("gradient", ["score", "full"])
def test_a_clamp_holds_every_number_of_the_weighted_gradient(
    gradient: Literal["score", "full"],
) -> None:
    config = replace(CONFIG, gradient=gradient)
    guidance, x, text, negative, time, seed, step, free = ask(config)
    held = sds.picture_gradient(
        guidance, x, text, negative, time, seed, step, replace(config, clamp=0.3)
    )
    assert free.abs().max() > 0.3
    assert torch.equal(held, free.clamp(-0.3, 0.3))


def slope(function: Callable[[np.ndarray], float], x: np.ndarray) -> np.ndarray:
    """Central differences."""
    result, h = np.zeros_like(x), 1e-5
    for place in np.ndindex(x.shape):
        offset = np.zeros_like(x)
        offset[place] = h
        result[place] = (function(x + offset) - function(x - offset)) / (2 * h)
    return result


class _Opaque(torch.autograd.Function):
    """Identity that cannot be differentiated."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        raise RuntimeError("the model was differentiated")


@dataclass
class OpaqueGuidance(RecordingGuidance):
    """A model that forbids its differentiation; keeps whether it was asked with gradients on."""

    grad_modes: list[bool] = field(default_factory=list)

    def predict_noise(self, z_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
        self.grad_modes.append(torch.is_grad_enabled() and z_t.requires_grad)
        return _Opaque.apply(super().predict_noise(z_t, t, text))  # type: ignore[no-any-return]


def test_only_the_full_gradient_differentiates_the_model() -> None:
    x = torch.rand(1, 1, 3, 8, 8, requires_grad=True)
    text = torch.randn(1, 1, 3, 4, requires_grad=True)
    seed = torch.tensor([1])
    guidance = OpaqueGuidance()
    question = (x, text, text, torch.tensor([[0.5]]), seed, seed)
    assert not sds.picture_gradient(guidance, *question, CONFIG).requires_grad
    with pytest.raises(RuntimeError, match="the model was differentiated"):
        sds.picture_gradient(guidance, *question, replace(CONFIG, gradient="full"))
    assert guidance.grad_modes == [False, True]
    gradient = sds.picture_gradient(
        RecordingGuidance(), *question, replace(CONFIG, gradient="full")
    )
    assert not gradient.requires_grad
    assert x.grad is None


@given(st.floats(-5, 5, width=32), st.floats(-5, 5, width=32), st.floats(0, 100))
def test_the_two_forms_differ_by_one_in_the_scale(c: float, u: float, scale: float) -> None:
    conditional, unconditional = torch.tensor([c]), torch.tensor([u])
    inner = replace(CONFIG, form="interpolate", scale=scale + 1)
    outer = replace(CONFIG, form="extrapolate", scale=scale)
    torch.testing.assert_close(
        sds.guided(conditional, unconditional, inner),
        sds.guided(conditional, unconditional, outer),
        rtol=1e-4,
        atol=1e-3,
    )


@pytest.mark.parametrize(("form", "expected"), [("interpolate", 2.0), ("extrapolate", 3.0)])
def test_guidance_of_scale_one(
    form: Literal["interpolate", "extrapolate"], expected: float
) -> None:
    config = replace(CONFIG, form=form, scale=1.0)
    one = torch.ones(1)
    assert sds.guided(2 * one, one, config).tolist() == [expected]


def times(part: float, config: DistillationConfig = CONFIG) -> Tensor:
    seed = torch.arange(4000)
    return sds.draw_time(config, seed, seed * 0 + 3, torch.full((4000,), part), 3)


@pytest.mark.parametrize("part", [0.0, 0.25, 1.0])
def test_time_is_uniform_below_a_bound_that_falls_linearly(part: float) -> None:
    config = replace(CONFIG, t_min=0.1, t_max=(0.9, 0.5))
    drawn = times(part, config).flatten().double().numpy()
    highest = 0.9 - 0.4 * part
    assert scipy.stats.kstest((drawn - 0.1) / (highest - 0.1), "uniform").pvalue > 0.01
    assert drawn.min() >= 0.1
    assert drawn.max() <= highest


@pytest.mark.parametrize("part", [0.0, 0.25, 1.0])
def test_time_may_fall_with_the_square_root_of_the_run(part: float) -> None:
    config = replace(CONFIG, t_max=(0.9, 0.5), t_schedule="sqrt")
    expected = 0.9 - 0.4 * math.sqrt(part)
    np.testing.assert_allclose(times(part, config).numpy(), expected, rtol=1e-6)


def test_every_scene_has_its_own_part_and_draws() -> None:
    seed, step = torch.tensor([1, 2, 1]), torch.tensor([0, 0, 0])
    part = torch.tensor([0.0, 0.5, 1.0])
    together = sds.draw_time(CONFIG, seed, step, part, 4)
    for s in range(3):
        one = slice(s, s + 1)
        alone = sds.draw_time(CONFIG, seed[one], step[one], part[one], 4)
        assert torch.equal(together[one], alone)
    assert not torch.equal(together[0], together[1])
    assert (together[0] > together[2]).all()


@pytest.mark.parametrize("time", [1e-9, 0.5, 1 - 1e-7])
def test_the_ends_of_time_are_in_the_schedule(time: float) -> None:
    guidance = RecordingGuidance()
    seed = torch.tensor([1])
    text = torch.zeros(1, 1, 3, 4)
    gradient = sds.picture_gradient(
        guidance, torch.zeros(1, 1, 3, 8, 8), text, text, torch.tensor([[time]]), seed, seed, CONFIG
    )
    assert gradient.isfinite().all()
    assert 0 <= int(guidance.calls[0][1][0]) <= 999
