"""The two gradients of distillation beside each other, on given pictures at fixed diffusion times.

g       dL/dx of a picture, the score's or the full one (`engine.sds`)
size    root mean square of g over pictures, pixels and channels
cosine  between the two g of a picture under one noise, mean over pictures
repeat  cosine between two g of a picture under two noises: what of it is not noise

Axes: N scenes, V views, T tokens, D text features.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from engine import sds
from engine.configs.distillation import DistillationConfig
from engine.guidance.guidance import Guidance
from engine.guidance.prompts import view_word, with_view

TIMES = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The two gradients at one diffusion time."""

    time: float
    score_size: float
    full_size: float
    cosine: float
    score_repeat: float
    full_repeat: float


def texts_of_views(
    guidance: Guidance, prompts: Sequence[str], azimuths_deg: Sequence[float], elevation_deg: float
) -> Float[Tensor, "N V T D"]:
    """The prompts with the words of these views, embedded."""
    words = [view_word(azimuth, elevation_deg) for azimuth in azimuths_deg]
    text = guidance.encode([with_view(prompt, word) for prompt in prompts for word in words])
    return text.unflatten(0, (len(prompts), len(words)))


def compare(
    guidance: Guidance,
    x: Float[Tensor, "N V 3 H W"],
    text: Float[Tensor, "N V T D"],
    score: DistillationConfig,
    full: DistillationConfig,
) -> list[Comparison]:
    """Both gradients of pictures in [-1, 1] at each of `TIMES`; the recipes' kinds are replaced."""
    negative = guidance.encode([""])[None].expand(text.shape)
    score, full = replace(score, gradient="score"), replace(full, gradient="full")
    seed = torch.arange(len(x), device=x.device)

    def gradient(config: DistillationConfig, time: float, draw: int) -> Float[Tensor, "B P"]:
        times = torch.full(x.shape[:2], time, device=x.device)
        step = torch.full_like(seed, draw)
        found = sds.picture_gradient(guidance, x, text, negative, times, seed, step, config)
        return found.flatten(0, 1).flatten(1)

    rows = []
    for time in TIMES:
        score_0, score_1 = (gradient(score, time, draw) for draw in (0, 1))
        full_0, full_1 = (gradient(full, time, draw) for draw in (0, 1))
        rows.append(
            Comparison(
                time=time,
                score_size=_size(score_0),
                full_size=_size(full_0),
                cosine=_cosine(score_0, full_0),
                score_repeat=_cosine(score_0, score_1),
                full_repeat=_cosine(full_0, full_1),
            )
        )
    return rows


def ratio_of_sizes(comparisons: Sequence[Comparison]) -> float:
    """Size of the full gradient over the score's, over all times."""
    full = sum(row.full_size**2 for row in comparisons)
    return math.sqrt(full / sum(row.score_size**2 for row in comparisons))


def _size(g: Float[Tensor, "B P"]) -> float:
    return float(g.square().mean().sqrt())


def _cosine(a: Float[Tensor, "B P"], b: Float[Tensor, "B P"]) -> float:
    return float(F.cosine_similarity(a, b, dim=-1).mean())
