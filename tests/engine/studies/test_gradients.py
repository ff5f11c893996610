import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from engine.configs.distillation import DistillationConfig
from engine.guidance.prompts import with_view
from engine.studies import gradients
from tests.engine.fakes import RecordingGuidance, schedule

CONFIG = DistillationConfig(scale=4.0)


@dataclass
class LinearGuidance(RecordingGuidance):
    """eps_hat = slope z_t, whatever the text."""

    slope: float = 0.5

    def predict_noise(self, z_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
        return self.slope * z_t


@dataclass
class DenoisingGuidance(RecordingGuidance):
    """Believes that every picture was black: its residual shows the picture, without noise."""

    def predict_noise(self, z_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
        alpha_squared = self.alphas_cumprod[t][:, None, None, None]
        return z_t / (1.0 - alpha_squared).sqrt()


def compared(guidance: RecordingGuidance, x: Tensor) -> list[gradients.Comparison]:
    text = torch.randn(*x.shape[:2], 3, 4)
    return gradients.compare(guidance, x, text, CONFIG, CONFIG)


def test_sizes_and_cosine_of_a_model_whose_jacobian_is_a_number() -> None:
    rows = compared(LinearGuidance(slope=-0.5), torch.rand(2, 3, 3, 8, 8))
    assert [row.time for row in rows] == [0.1, 0.3, 0.5, 0.7, 0.9]
    for row in rows:
        alpha = math.sqrt(float(schedule()[int(row.time * 1000)]))
        assert row.full_size == pytest.approx(0.5 * alpha * row.score_size, rel=1e-4)
        assert row.cosine == pytest.approx(-1.0, abs=1e-5)
        assert row.full_repeat == pytest.approx(row.score_repeat, abs=1e-4)


def test_each_gradient_has_its_own_guidance() -> None:
    x, text = torch.rand(2, 3, 3, 8, 8), torch.randn(2, 3, 3, 4)
    strong = DistillationConfig(scale=40.0, gradient="score")
    usual = gradients.compare(RecordingGuidance(), x, text, CONFIG, CONFIG)
    other = gradients.compare(RecordingGuidance(), x, text, CONFIG, strong)
    for one, two in zip(usual, other, strict=True):
        assert one.score_size == two.score_size
        assert two.full_size > 2 * one.full_size


def test_gradients_repeat_as_far_as_they_are_not_noise() -> None:
    noise = compared(LinearGuidance(), torch.zeros(4, 4, 3, 16, 16))
    signal = compared(DenoisingGuidance(), torch.rand(4, 4, 3, 16, 16) + 0.5)
    for row in noise:
        assert abs(row.score_repeat) < 0.05
    for row in signal:
        assert row.score_repeat == pytest.approx(1.0, abs=1e-3)
        assert row.full_repeat == pytest.approx(1.0, abs=1e-3)


def test_ratio_of_sizes_is_of_root_mean_squares_over_all_times() -> None:
    row = {"time": 0.5, "cosine": 0.0, "score_repeat": 0.0, "full_repeat": 0.0}
    rows = [
        gradients.Comparison(score_size=3.0, full_size=0.6, **row),
        gradients.Comparison(score_size=4.0, full_size=0.8, **row),
    ]
    assert gradients.ratio_of_sizes(rows) == pytest.approx(0.2)


def test_every_view_is_named_in_its_prompt() -> None:
    guidance = RecordingGuidance()
    text = gradients.texts_of_views(guidance, ["a cup", "a car"], (0.0, 90.0, 180.0), 30.0)
    words = ("front view", "side view", "back view")
    asked = [with_view(prompt, word) for prompt in ("a cup", "a car") for word in words]
    assert guidance.prompts == asked
    assert torch.equal(text[1, 2], guidance.encode(["a car, back view"])[0])
