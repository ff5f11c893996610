import math
from dataclasses import replace

import pytest
import torch

from engine.evaluation.judge import Judge
from engine.evaluation.judge_captions import CaptionTable
from engine.evaluation.judge_training import (
    LOSSES,
    StepConfig,
    Trainer,
    contrast,
    cross_entropy,
    learning_rate,
)
from engine.primitives.captions import caption, vocabulary
from tests.engine.evaluation.judge_fakes import SCENES, SMALL, lessons

SMALL_STEP = StepConfig(batch=16, lr=3e-3, warm_up=5, ema_decay=0.9)


def naive_contrast(
    logits: list[list[float]], scene: list[int], textureless: list[bool]
) -> tuple[float, float]:
    """Both losses in loops."""
    count = len(logits)
    coloured = [i for i in range(count) if not textureless[i]]
    to_caption, to_picture = [], []
    for i in coloured:
        rivals = [j for j in range(len(scene)) if j == i or scene[j] != scene[i]]
        total = sum(math.exp(logits[i][j]) for j in rivals)
        to_caption.append(math.log(total) - logits[i][i])
    for j in coloured:
        rivals = [i for i in coloured if i == j or scene[i] != scene[j]]
        total = sum(math.exp(logits[i][j]) for i in rivals)
        to_picture.append(math.log(total) - logits[j][j])
    return sum(to_caption) / len(coloured), sum(to_picture) / len(coloured)


def test_the_contrast_is_that_of_the_loops() -> None:
    logits = 5 * torch.randn(5, 9)
    scene = [3, 1, 3, 4, 0, 3, 7, 1, 4]
    textureless = [False, False, False, True, False]
    expected = naive_contrast(logits.tolist(), scene, textureless)
    found = contrast(logits, torch.tensor(scene), torch.tensor(textureless))
    assert [float(loss) for loss in found] == pytest.approx(list(expected), rel=1e-5)


def test_rows_that_do_not_count_are_finite_and_move_nothing() -> None:
    logits = torch.randn(3, 3, requires_grad=True)
    counts = torch.tensor([1.0, 0.0, 1.0])
    allowed = torch.eye(3, dtype=torch.bool) | (counts[:, None] > 0)
    allowed[1] = False
    loss = cross_entropy(logits, allowed, counts)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[1].abs().sum() == 0
    none = cross_entropy(logits, allowed, torch.zeros(3))
    assert none.item() == 0.0


@pytest.mark.parametrize("name", SMALL)
def test_the_losses_fall_and_the_running_mean_binds_colours(name: str) -> None:
    judge = Judge.build(SMALL[name], vocabulary(), seed=1)
    given = lessons()
    trainer = Trainer(judge, given, SMALL_STEP)
    trainer.step(0.0)
    first = trainer.take_losses(1)
    for _ in range(160):
        trainer.step(3e-3)
    trainer.take_losses(1)
    for _ in range(10):
        trainer.step(0.0)
    last = trainer.take_losses(10)
    assert tuple(last) == LOSSES
    assert last["caption"] < 0.7 * first["caption"]
    assert last["geometry"] < 0.7 * first["geometry"]
    coloured = ~given.is_textureless
    shown = given.rgba[coloured].float() / 255.0
    x = shown[:, :3] * shown[:, 3:] + 0.75 * (1 - shown[:, 3:])
    logits = (
        trainer.mean.embed_pictures(x)
        @ trainer.mean.embed_captions([caption(spec) for spec in SCENES]).T
    )
    found = logits.argmax(1)
    swaps = [(i, SCENES.index(s.swapped())) for i, s in enumerate(SCENES) if len(s.colours) == 2]
    right = [bool(logits[i, i] > logits[i, j]) for i, j in swaps]
    print("XX", last, first, sum(right), (found == torch.arange(len(SCENES))).float().mean())
    assert sum(right) >= 5
    assert len(right) == 6
    assert (found == torch.arange(len(SCENES))).float().mean() > 0.5


def test_the_running_mean_follows_the_weights() -> None:
    trainer = Trainer(Judge.build(SMALL["j1"], vocabulary(), 1), lessons(), SMALL_STEP)
    before = [p.clone() for p in trainer.mean.network.parameters()]
    trainer.step(1e-2)
    decay = min(0.9, 2.0 / 11.0)
    pairs = zip(
        before, trainer.network.parameters(), trainer.mean.network.parameters(), strict=True
    )
    for old, weight, mean in pairs:
        torch.testing.assert_close(mean, decay * old + (1 - decay) * weight.detach())
        assert not mean.requires_grad
    assert not trainer.mean.network.training


def test_a_textureless_picture_does_not_learn_its_colours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With white pictures alone only the geometries' captions are asked for."""
    given = lessons()
    white = replace(given, is_textureless=torch.ones_like(given.is_textureless))
    asked: list[torch.Tensor] = []
    draw = CaptionTable.draw
    monkeypatch.setattr(
        CaptionTable, "draw", lambda self, rows: asked.append(rows) or draw(self, rows)
    )
    trainer = Trainer(Judge.build(SMALL["j1"], vocabulary(), 1), white, SMALL_STEP)
    trainer.step(1e-3)
    losses = trainer.take_losses(1)
    assert losses["caption"] == losses["picture"] == 0.0
    assert losses["geometry"] > 0.5
    # The batch's own captions, then one of each group of negatives, then all geometries.
    assert len(asked[0]) == SMALL_STEP.batch * (1 + given.negatives.shape[1])
    wrong = asked[0][SMALL_STEP.batch :].reshape(SMALL_STEP.batch, -1)
    for own, others in zip(asked[0][: SMALL_STEP.batch].tolist(), wrong.tolist(), strict=True):
        for group, other in enumerate(others):
            assert other in given.negatives[own, group]
    assert asked[1].tolist() == [0, 1, 2]


def test_a_compiled_encoder_is_used_and_can_be_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(Judge.build(SMALL["j1"], vocabulary(), 1), lessons(), SMALL_STEP)
    before = [p.clone() for p in trainer.network.parameters()]
    calls: list[int] = []

    def compiled(network: torch.nn.Module):
        return lambda x: calls.append(len(x)) or network(x)

    monkeypatch.setattr(torch, "compile", compiled)
    trainer.compile()
    # The try changes nothing.
    for old, weight in zip(before, trainer.network.parameters(), strict=True):
        assert torch.equal(old, weight)
        assert weight.grad is None
    trainer.step(0.0)
    assert calls == [SMALL_STEP.batch] * 2
    trainer.uncompile()
    trainer.step(0.0)
    assert len(calls) == 2


def test_a_compiled_encoder_without_finite_gradients_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer = Trainer(Judge.build(SMALL["j1"], vocabulary(), 1), lessons(), SMALL_STEP)
    monkeypatch.setattr(torch, "compile", lambda network: lambda x: math.nan * network(x))
    with pytest.raises(RuntimeError, match="not finite"):
        trainer.compile()
    assert all(weight.isfinite().all() for weight in trainer.network.parameters())


def test_the_rate_warms_up_and_falls_on_a_half_cosine() -> None:
    config = StepConfig(lr=1.0, warm_up=10)
    assert [learning_rate(config, n, 0.0) for n in (0, 4, 9, 10)] == [0.1, 0.5, 1.0, 1.0]
    late = [learning_rate(config, 100, p) for p in (0.5, 1.0, 1.2)]
    assert late == pytest.approx([0.5, 0.0, 0.0], abs=1e-9)


@pytest.mark.parametrize("changes", [{"batch": 1}, {"lr": 0.0}])
def test_impossible_settings_are_refused(changes: dict) -> None:
    with pytest.raises(ValueError, match="expected batch >= 2 and lr > 0"):
        StepConfig(**changes)
