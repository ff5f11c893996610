import math

import pytest
import torch
from torch import Tensor

from engine.primitives import training
from engine.primitives.pictures import render_pictures
from engine.primitives.teacher import build, tokenize
from engine.primitives.training import NUM_BINS, StepConfig, Trainer
from tests.engine.primitives.tiny import SIZES


@pytest.fixture(scope="module")
def material() -> tuple[Tensor, list[str]]:
    found = render_pictures(48, 9, size=SIZES.size)
    return found.rgba, found.captions


def trainer(material: tuple[Tensor, list[str]], **changes) -> Trainer:
    teacher = build(SIZES, seed=2)
    rgba, captions = material
    tokens = tokenize(teacher.tokenizer, captions)
    return Trainer(teacher, rgba, tokens, StepConfig(batch=8, **changes))


def weights(network: torch.nn.Module) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in network.parameters()])


def test_the_loss_falls(material: tuple[Tensor, list[str]]) -> None:
    learner = trainer(material)
    losses: list[float] = []
    for _ in range(3):
        for _ in range(20):
            learner.step(1e-2, 0.9)
        losses.append(sum(learner.take_losses()) / NUM_BINS)
    # An untrained teacher answers zero, whose error is the mean square of v.
    assert losses[0] < 0.9
    assert losses[-1] < 0.9 * losses[0]
    assert losses == sorted(losses, reverse=True)


def test_losses_are_means_by_quarter_since_they_were_last_taken(
    material: tuple[Tensor, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = trainer(material)
    assert all(math.isnan(loss) for loss in learner.take_losses())
    monkeypatch.setattr(training, "composite", lambda rgba: torch.full((len(rgba), 3, 16, 16), 0.5))
    for _ in range(40):
        learner.step(0.0, 1.0)
    # With a zero last layer and no learning every error is the mean square of
    # v = alpha noise - sigma / 2, where sigma / alpha = 4 tan(pi t / 2).
    level = 1 / (1 + (4 * ((torch.arange(1000) + 1) / 1001 * math.pi / 2).tan()).square())
    expected = (level + (1 - level) / 4).reshape(NUM_BINS, -1).mean(1).tolist()
    assert learner.take_losses() == pytest.approx(expected, abs=0.05)
    assert all(math.isnan(loss) for loss in learner.take_losses())


def test_both_networks_learn_and_the_mean_follows(material: tuple[Tensor, list[str]]) -> None:
    learner = trainer(material)
    pairs = [
        (learner.teacher.unet, learner.mean.unet),
        (learner.teacher.text_encoder, learner.mean.text_encoder),
    ]
    start = [weights(own) for own, _ in pairs]
    means = [weights(mean) for _, mean in pairs]
    for decay in (0.5, 0.75, 0.5):
        learner.step(1e-3, decay)
        for k, (own, mean) in enumerate(pairs):
            means[k] = decay * means[k] + (1 - decay) * weights(own)
            torch.testing.assert_close(weights(mean), means[k])
    for before, (own, mean) in zip(start, pairs, strict=True):
        assert not torch.equal(before, weights(own))
        assert not torch.equal(weights(mean), weights(own))
        assert not any(weight.requires_grad for weight in mean.parameters())


def test_at_rate_zero_nothing_changes(material: tuple[Tensor, list[str]]) -> None:
    learner = trainer(material)
    before = weights(learner.teacher.unet)
    learner.step(0.0, 1.0)
    assert torch.equal(before, weights(learner.teacher.unet))
    assert torch.equal(before, weights(learner.mean.unet))


def test_captions_are_dropped_as_often_as_said(
    material: tuple[Tensor, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = trainer(material, caption_dropout=0.25)
    seen: list[Tensor] = []

    def spy(text_encoder: torch.nn.Module, tokens: Tensor) -> Tensor:
        seen.append(tokens)
        return torch.zeros(*tokens.shape, SIZES.text_width)

    monkeypatch.setattr("engine.primitives.training.encode", spy)
    for _ in range(30):
        learner._loss()
    empty = tokenize(learner.teacher.tokenizer, [""])
    share = (torch.cat(seen) == empty).all(dim=1).float().mean()
    assert float(share) == pytest.approx(0.25, abs=0.08)


@pytest.mark.parametrize(
    "changes",
    [{"batch": 0}, {"caption_dropout": 1.0}, {"caption_dropout": -0.1}],
)
def test_impossible_numbers_are_refused(changes: dict) -> None:
    with pytest.raises(ValueError, match="batch must be at least 1 and caption_dropout in"):
        StepConfig(**changes)


def test_some_pictures_are_seen_at_half_resolution(
    material: tuple[Tensor, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def spy(x: Tensor, share: float) -> Tensor:
        asked.append(share)
        return x

    monkeypatch.setattr(training, "soften", spy)
    trainer(material, soft_share=0.3)._loss()
    assert asked == [0.3]
