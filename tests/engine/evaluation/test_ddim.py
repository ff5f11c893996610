"""The sampler against diffusers' own, and with a model that knows the picture."""

from typing import Any, cast

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from engine.evaluation.ddim import draw, thresholded
from tests.engine.fakes import DiscGuidance, RecordingGuidance


def cosine_schedule() -> Tensor:
    scheduler = cast(Any, DDIMScheduler(beta_schedule="squaredcos_cap_v2"))
    return scheduler.alphas_cumprod


def naive(guidance: RecordingGuidance, prompts: list[str], steps: int, scale: float) -> Tensor:
    scheduler = cast(
        Any,
        DDIMScheduler(
            beta_schedule="squaredcos_cap_v2",
            clip_sample=False,
            thresholding=True,
            dynamic_thresholding_ratio=0.99,
            sample_max_value=1e6,
        ),
    )
    scheduler.set_timesteps(steps)
    x = torch.randn(len(prompts), 3, 8, 8, generator=torch.Generator().manual_seed(3))
    for t in scheduler.timesteps:
        time = t.expand(len(prompts))
        cond = guidance.predict_noise(x, time, guidance.encode(prompts))
        uncond = guidance.predict_noise(x, time, guidance.encode([""] * len(prompts)))
        guess = uncond + scale * (cond - uncond)
        x = scheduler.step(guess, int(t), x, use_clipped_model_output=True).prev_sample
    return (x / 2 + 0.5).clamp(0, 1)


@pytest.mark.parametrize("steps", [1, 7, 50])
def test_as_diffusers_does(steps: int) -> None:
    guidance = RecordingGuidance(alphas_cumprod=cosine_schedule())
    prompts = ["a red cube", "a longer prompt of a blue cup"]
    found = draw(guidance, prompts, seed=3, steps=steps, scale=2.5)
    torch.testing.assert_close(found, naive(guidance, prompts, steps, 2.5), atol=1e-4, rtol=1e-4)
    assert float(found.std()) > 0.01


def test_a_model_that_knows_the_picture_draws_it() -> None:
    guidance = DiscGuidance(size=16)
    found = draw(guidance, ["red", "blue", "green"] * 4, seed=0, scale=1.0)
    assert found.shape == (12, 3, 16, 16)
    inside = guidance.disc > 0
    expected = torch.tensor([[1.0, 0, 0], [0, 0, 1.0], [0, 1.0, 0]]).repeat(4, 1)
    for picture, colour in zip(found, expected, strict=True):
        torch.testing.assert_close(
            picture[:, inside], colour[:, None].expand(-1, int(inside.sum())), atol=0.02, rtol=0
        )


def test_contrasts_beyond_the_range_are_scaled_down_not_cut_off() -> None:
    steep = torch.linspace(-4.0, 4.0, 3 * 64).reshape(1, 3, 8, 8)
    within = 0.5 * torch.tanh(steep)
    found = thresholded(torch.cat([steep, within]))
    most = float(torch.quantile(steep.abs().flatten(), 0.99))
    torch.testing.assert_close(found[0], (steep[0] / most).clamp(-1.0, 1.0))
    assert 3.9 < most < 4.0
    assert torch.equal(found[1], within[0])


def test_pictures_do_not_depend_on_how_many_are_drawn_at_once() -> None:
    guidance = RecordingGuidance(alphas_cumprod=cosine_schedule())
    prompts = [f"prompt {'x' * k}" for k in range(11)]
    all_at_once = draw(guidance, prompts, seed=1, steps=3)
    torch.testing.assert_close(draw(guidance, prompts[:2], seed=1, steps=3), all_at_once[:2])
