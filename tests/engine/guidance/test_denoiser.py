"""Distillation end to end through a denoiser, against the equations written out in float64."""

import math
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor

from engine import sds
from engine.configs.distillation import DistillationConfig
from engine.guidance.denoiser import Denoiser
from engine.philox import Purpose, normal

CHANNELS, SIDE, WIDTH = 4, 3, 5


class SineUNet(torch.nn.Module):
    """sin(K z + mean of the text + t / 500), all of a picture mixed by K; forbids gradients."""

    def __init__(self, mix: Tensor) -> None:
        super().__init__()
        self.config = SimpleNamespace(
            in_channels=CHANNELS, sample_size=SIDE, encoder_hid_dim=None, cross_attention_dim=WIDTH
        )
        self.mix = torch.nn.Parameter(mix)

    def forward(self, z: Tensor, t: Tensor, text: Tensor) -> Any:
        assert not torch.is_grad_enabled()
        phase = text.mean((1, 2)) * 3 + t / 500
        answer = torch.sin(z.flatten(1) @ self.mix.T + phase[:, None]).view_as(z)
        # A variance beside it, which nobody is to look at.
        return SimpleNamespace(sample=torch.cat([answer, answer * torch.nan], dim=1))


def schedule() -> np.ndarray:
    """alpha_t^2 of betas whose square roots are evenly spaced, as Stable Diffusion's."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    return np.cumprod(1 - betas)


def by_hand(
    config: DistillationConfig,
    prediction: str,
    mix: np.ndarray,
    z0: np.ndarray,
    eps: np.ndarray,
    means: tuple[float, float],
    denied: list[tuple[float, float]],
    time: float,
) -> np.ndarray:
    """w (eps_hat - eps) of one picture; `denied` holds means of texts with their weights."""
    index = math.floor(time * 1000)
    alpha, sigma = math.sqrt(schedule()[index]), math.sqrt(1 - schedule()[index])
    z = alpha * z0 + sigma * eps

    def noise(mean: float) -> np.ndarray:
        said = np.array([math.sin(row @ z + mean * 3 + index / 500) for row in mix])
        # From v = alpha eps - sigma z0 and z = alpha z0 + sigma eps.
        return alpha * said + sigma * z if prediction == "v_prediction" else said

    text, negative = (noise(mean) for mean in means)
    asked = text - negative
    total = asked.copy()
    for mean, weight in denied:
        other = noise(mean) - negative
        total += weight * (other - asked * (other @ asked) / (asked @ asked))
    factor = config.scale + (config.form == "extrapolate")
    weight = sigma**2 if config.weighting == "sigma_squared" else 1.0
    return weight * (negative + factor * total - eps)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("form", ["interpolate", "extrapolate"])
@pytest.mark.parametrize("weighting", ["sigma_squared", "uniform"])
@pytest.mark.parametrize("perp_neg", [False, True])
def test_the_gradient_is_the_paper_s(
    prediction: Literal["epsilon", "v_prediction"],
    form: Literal["interpolate", "extrapolate"],
    weighting: Literal["sigma_squared", "uniform"],
    perp_neg: bool,
) -> None:
    config = DistillationConfig(
        scale=5.0,
        form=form,
        weighting=weighting,
        prompt_views="interpolated",
        perp_neg=perp_neg,
    )
    size = CHANNELS * SIDE**2
    mix = torch.randn(size, size) / 4
    scheduler = DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction,
    )
    denoiser = Denoiser(
        SineUNet(mix.clone()), scheduler, device=torch.device("cpu"), dtype=torch.float32
    )
    guidance = _Guidance(denoiser)
    z0 = torch.randn(2, 2, CHANNELS, SIDE, SIDE)
    text, negative = torch.randn(2, 2, 2, 3, WIDTH)
    others = torch.randn(2, 2, 2, 3, WIDTH)
    weight = -torch.rand(2, 2, 2)
    time = torch.tensor([[0.1005, 0.4005], [0.7005, 0.9505]])
    seed, step = torch.tensor([5, 6]), torch.tensor([0, 9])
    denial = sds.Denial(text=others, weight=weight) if perp_neg else None
    found = sds.picture_gradient(guidance, z0, text, negative, time, seed, step, config, denial)
    assert not found.requires_grad
    eps = normal(seed, step, Purpose.NOISE, (2, CHANNELS, SIDE, SIDE))
    for s, v in np.ndindex(2, 2):
        expected = by_hand(
            config,
            prediction,
            mix.double().numpy(),
            z0[s, v].double().numpy().ravel(),
            eps[s, v].double().numpy().ravel(),
            (float(text[s, v].mean()), float(negative[s, v].mean())),
            [(float(others[s, v, n].mean()), float(weight[s, v, n])) for n in range(2)]
            if perp_neg
            else [],
            float(time[s, v]),
        )
        np.testing.assert_allclose(found[s, v].numpy().ravel(), expected, rtol=1e-3, atol=2e-4)


class _Guidance(Denoiser):
    """A denoiser that is shown what it works on."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.__dict__.update(denoiser.__dict__)

    def represent(self, x: Tensor) -> Tensor:
        return x


def test_a_denoiser_without_texts_says_what_to_do() -> None:
    denoiser = Denoiser(
        SineUNet(torch.eye(CHANNELS * SIDE**2)),
        DDPMScheduler(),
        device=torch.device("cpu"),
        dtype=torch.float32,
    )
    with pytest.raises(ValueError, match="loaded without its text encoder, expected embedded"):
        denoiser.encode(["a ball"])
