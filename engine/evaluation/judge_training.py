"""One training step of a judge: symmetric contrast with hard negatives (CLIP, arXiv 2103.00020).

Legend: B pictures, C captions (B own ones, then G hard negatives of each picture), E geometries;
p.c the cosine of a picture and a caption. Three cross-entropies are added:

    picture -> caption    over all C captions
    caption -> picture    over all B pictures
    picture -> geometry   over one colourless caption of each geometry

Another caption of the own scene is no mistake and is left out. A textureless picture takes part in
the last alone: it cannot know its colours.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from engine.evaluation.judge import Judge
from engine.evaluation.judge_captions import CaptionTable
from engine.evaluation.judge_pictures import degrade
from engine.schedules import ramped_decay, warmed_cosine

LOSSES = ("caption", "picture", "geometry")

# torch's optimisers are built on these functions, but its stubs do not export them.
_foreach = cast(Any, torch)


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """Numbers of the training step."""

    batch: int = 768
    lr: float = 1e-3
    warm_up: int = 200
    """Steps of linear warm-up, before a half cosine over the time."""
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    clip_norm: float = 1.0
    ema_decay: float = 0.998
    weights: tuple[float, float, float] = (1.0, 0.5, 1.0)
    """Of the losses, in the order of `LOSSES`."""

    def __post_init__(self) -> None:
        if self.batch < 2 or self.lr <= 0:
            raise ValueError(
                f"expected batch >= 2 and lr > 0, got batch {self.batch} and lr {self.lr}"
            )


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """What a judge is trained on, on one device."""

    rgba: UInt8[Tensor, "N 4 h w"]
    scene: Int[Tensor, "N"]
    """Of each picture, as a row of `captions` and `negatives`."""
    geometry: Int[Tensor, "N"]
    """Of each picture, as a row of `geometries`."""
    is_textureless: Bool[Tensor, "N"]
    captions: CaptionTable
    geometries: CaptionTable
    negatives: Int[Tensor, "S G K"]


def cross_entropy(
    logits: Float[Tensor, "R C"], allowed: Bool[Tensor, "R C"], counts: Float[Tensor, "R"]
) -> Float[Tensor, ""]:
    """Mean over the rows that count of -log softmax at the diagonal, over the allowed columns."""
    logits = logits.masked_fill(~allowed, -torch.inf)
    # A row that does not count may have nothing allowed, which must not become NaN.
    safe = logits.masked_fill(counts[:, None] == 0, 0.0)
    surprise = safe.logsumexp(1) - safe.diagonal()
    return (counts * surprise).sum() / counts.sum().clamp_min(1.0)


def contrast(
    logits: Float[Tensor, "B C"],
    scene: Int[Tensor, "C"],
    is_textureless: Bool[Tensor, "B"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Losses picture -> caption and caption -> picture.

    Columns are captions of the scenes `scene`: first those of the B pictures, then others.
    """
    count = len(logits)
    own = torch.eye(count, len(scene), dtype=torch.bool, device=scene.device)
    allowed = (scene[:count, None] != scene) | own
    coloured = (~is_textureless).to(logits.dtype)
    to_caption = cross_entropy(logits, allowed, coloured)
    square = allowed[:, :count] & ~is_textureless
    return to_caption, cross_entropy(logits[:, :count].T, square, coloured)


def learning_rate(config: StepConfig, step: int, progress: float) -> float:
    """Linear warm-up over steps times a half cosine over the share of time that has gone."""
    return warmed_cosine(config.lr, 0.0, warm_up=config.warm_up, step=step, progress=progress)


def _groups(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Matrices decay, vectors and scalars do not."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


class Trainer:
    """A judge in training with its running mean; `step` never waits for the device."""

    def __init__(self, judge: Judge, lessons: Lessons, config: StepConfig) -> None:
        self.lessons, self.config = lessons, config
        self.device = lessons.rgba.device
        self.network = judge.network.to(self.device).train()
        mean = deepcopy(self.network).requires_grad_(False)
        self.mean = Judge(mean, judge.config, judge.words)
        self._pictures: Callable[[Tensor], Tensor] = self.network.pictures
        self._weights = list(self.network.parameters())
        self._means = list(mean.parameters())
        self._optimiser = torch.optim.AdamW(
            _groups(self.network, config.weight_decay),
            lr=config.lr,
            betas=config.betas,
            fused=True,
        )
        self._shares = torch.tensor(config.weights, device=self.device)
        self._losses = torch.zeros(len(LOSSES), device=self.device)
        self._all_geometries = torch.arange(len(lessons.geometries.first), device=self.device)
        self.steps = 0

    def compile(self) -> None:
        """Use a compiled encoder of pictures from the next step on, if it works.

        Raises RuntimeError where its gradients are not finite; captions are short, so their encoder
        stays as it is.
        """
        self._pictures = torch.compile(self.network.pictures)
        self._forward().sum().backward()
        found = [p.grad for p in self._weights if p.grad is not None]
        self._optimiser.zero_grad(set_to_none=True)
        if not all(bool(grad.isfinite().all()) for grad in found):
            raise RuntimeError("the compiled encoder has gradients that are not finite")

    def uncompile(self) -> None:
        """Use the encoder as it is."""
        self._pictures = self.network.pictures

    def step(self, rate: float) -> None:
        """One optimisation step at a learning rate, and one of the running mean."""
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        losses = self._forward()
        self._losses += losses.detach()
        self._optimiser.zero_grad(set_to_none=True)
        (self._shares * losses).sum().backward()
        torch.nn.utils.clip_grad_norm_(self._weights, self.config.clip_norm, foreach=True)
        self._optimiser.step()
        self.steps += 1
        decay = ramped_decay(self.config.ema_decay, self.steps)
        with torch.no_grad():
            _foreach._foreach_lerp_(self._means, self._weights, 1.0 - decay)

    def take_losses(self, steps: int) -> Mapping[str, float]:
        """Mean of each loss over the last `steps` steps; waits for the device."""
        found = (self._losses / max(steps, 1)).tolist()
        self._losses.zero_()
        return {name: round(value, 4) for name, value in zip(LOSSES, found, strict=True)}

    def _forward(self) -> Float[Tensor, "3"]:
        lessons, batch, device = self.lessons, self.config.batch, self.device
        rows = torch.randint(len(lessons.rgba), (batch,), device=device)
        plain = lessons.is_textureless[rows]
        pictures = degrade(lessons.rgba[rows], plain)
        own = lessons.scene[rows]
        wrong = lessons.negatives[own]
        column = torch.randint(wrong.shape[2], (*wrong.shape[:2], 1), device=device)
        scene = torch.cat([own, wrong.gather(2, column).flatten()])
        tokens = lessons.captions.draw(scene)
        shapes = lessons.geometries.draw(self._all_geometries)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            p = self._pictures(pictures)
            c = self.network.captions(_stacked(tokens, shapes))
        p, c = F.normalize(p.float(), dim=-1), F.normalize(c.float(), dim=-1)
        logits = self.network.scale * p @ c.T
        to_caption, to_picture = contrast(logits[:, : len(scene)], scene, plain)
        to_geometry = F.cross_entropy(logits[:, len(scene) :], lessons.geometry[rows])
        return torch.stack([to_caption, to_picture, to_geometry])


def _stacked(a: Int[Tensor, "A T"], b: Int[Tensor, "E U"]) -> Int[Tensor, "C V"]:
    """Rows of both, padded to one length."""
    length = max(a.shape[1], b.shape[1])
    return torch.cat([F.pad(part, (0, length - part.shape[1])) for part in (a, b)])
