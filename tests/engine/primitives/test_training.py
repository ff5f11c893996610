import math

import pytest
import torch
from torch import Tensor

from engine.primitives import training
from engine.primitives.pictures import render_pictures
from engine.primitives.teacher import build, encode, tokenize
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
    torch.manual_seed(0)
    learner = trainer(material)
    losses: list[float] = []
    for _ in range(3):
        for _ in range(60):
            learner.step(3e-3, 0.9)
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
    # v = alpha noise - sigma / 2, where sigma / alpha = 4 tan(pi t / 2); P(time < t) is that of
    # u^1.5 > 1 - t.
    level = 1 / (1 + (4 * ((torch.arange(1000) + 1) / 1001 * math.pi / 2).tan()).square())
    mean = level + (1 - level) / 4
    below = 1 - (1 - torch.arange(1001) / 1000) ** (1 / 1.5)
    share = below.diff()
    expected = [
        float((mean * share)[rows].sum() / share[rows].sum())
        for rows in torch.arange(1000).reshape(NUM_BINS, -1)
    ]
    assert learner.take_losses() == pytest.approx(expected, abs=0.05)
    assert all(math.isnan(loss) for loss in learner.take_losses())


def test_the_unet_learns_the_text_encoder_does_not_and_the_mean_follows(
    material: tuple[Tensor, list[str]],
) -> None:
    learner = trainer(material)
    own, mean = learner.teacher.unet, learner.mean.unet
    before, expected = weights(own), weights(mean)
    text = weights(learner.teacher.text_encoder)
    for decay in (0.5, 0.75, 0.5):
        learner.step(1e-3, decay)
        expected = decay * expected + (1 - decay) * weights(own)
        torch.testing.assert_close(weights(mean), expected)
    assert not torch.equal(before, weights(own))
    assert not torch.equal(weights(mean), weights(own))
    assert not any(weight.requires_grad for weight in mean.parameters())
    assert torch.equal(text, weights(learner.teacher.text_encoder))
    assert learner.mean.text_encoder is learner.teacher.text_encoder


def test_times_lean_towards_noise_as_far_as_said(
    material: tuple[Tensor, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []

    def spy(self: Trainer, t: Tensor, error: Tensor) -> None:
        seen.append(t)

    monkeypatch.setattr(Trainer, "_count_losses", spy)
    for power, late in ((1.0, 0.2), (3.0, 0.2 ** (1 / 3))):
        learner = trainer(material, time_power=power)
        seen.clear()
        for _ in range(60):
            learner._loss()
        drawn = torch.cat(seen)
        assert 0 <= int(drawn.min()) <= int(drawn.max()) <= 999
        assert float((drawn >= 800).float().mean()) == pytest.approx(late, abs=0.08)


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

    def spy(x: Tensor, t: Tensor, text: Tensor, return_dict: bool) -> tuple[Tensor]:
        seen.append(text)
        return (torch.zeros(len(x), 6, *x.shape[2:]),)

    monkeypatch.setattr(learner, "_unet", spy)
    for _ in range(30):
        learner._loss()
    teacher = learner.teacher
    empty = encode(teacher.text_encoder, tokenize(teacher.tokenizer, [""]))
    share = (torch.cat(seen) == empty).all(dim=(1, 2)).float().mean()
    assert float(share) == pytest.approx(0.25, abs=0.08)


def test_each_picture_is_shown_under_its_own_words(
    material: tuple[Tensor, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    captions = material[1]
    learner = trainer(material, caption_dropout=0.0)
    teacher, seen = learner.teacher, []

    def spy(x: Tensor, t: Tensor, text: Tensor, return_dict: bool) -> tuple[Tensor]:
        seen.append(text)
        return (torch.zeros(len(x), 6, *x.shape[2:]),)

    monkeypatch.setattr(learner, "_unet", spy)
    monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.tensor([5, 0, 7, 7, 1, 2, 3, 47]))
    learner._loss()
    words = [captions[row] for row in (5, 0, 7, 7, 1, 2, 3, 47)]
    expected = encode(teacher.text_encoder, tokenize(teacher.tokenizer, words))
    torch.testing.assert_close(seen[0], expected)


@pytest.mark.parametrize(
    "changes",
    [{"batch": 0}, {"caption_dropout": 1.0}, {"caption_dropout": -0.1}, {"time_power": 0.0}],
)
def test_impossible_numbers_are_refused(changes: dict) -> None:
    with pytest.raises(ValueError, match="batch must be at least 1, caption_dropout in"):
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
