"""Reading: the text encoder learns what captions say before it meets a picture, and is then frozen.

So is the T5 of Imagen (arXiv 2205.11487, section 2.1) and of DeepFloyd IF. Trained through the
diffusion loss alone ours became deaf: that loss hardly depends on the order of words, and before it
asks for them the first, large steps drown the tokens in a vector that all of them share.

From every token of a caption, padding included, linear heads tell all that the caption says:

    geometry    which of the world's, or none: the empty caption
    slots       the colour that each slot of the geometry wears, or none: no colours, fewer slots
    view        the view word, or none

What stands side by side in a linear code, whoever reads it can put together anew; so the colours of
unseen scenes are read as well as those of the *train* split, from which all captions here come.

Legend: N captions, T tokens, d width of the text, Q questions, A answers of all questions together.
"""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from engine.guidance.prompts import VIEWS, with_view
from engine.primitives.captions import colourless_forms, forms
from engine.primitives.grammar import COLOURS, Geometry, Spec, geometries
from engine.primitives.splits import Split, probabilities, specs_of
from engine.primitives.teacher import Teacher, encode, tokenize
from engine.schedules import warmed_cosine

MOST_SLOTS = 3
QUESTIONS: tuple[int, ...] = (
    1 + len(geometries()),
    *[1 + len(COLOURS)] * MOST_SLOTS,
    1 + len(VIEWS),
)
"""How many answers each question has; answer 0 is none."""

VIEW_SHARE = 0.8
COLOURLESS_SHARE = 0.08
EMPTY_SHARE = 0.03

Answers = tuple[int, ...]
"""One to each question."""


@dataclass(frozen=True, kw_only=True)
class ReadingConfig:
    """How long and how fast the encoder learns to read."""

    steps: int = 1500
    batch: int = 256
    lr: float = 4e-4
    warm_up: int = 100
    weight_decay: float = 0.01
    clip_norm: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Caption:
    """Words, and what they say."""

    text: str
    answers: Answers


@cache
def _numbers() -> tuple[dict[Geometry, int], dict[str, int]]:
    places = {geometry: k for k, geometry in enumerate(geometries(), start=1)}
    return places, {colour: k for k, colour in enumerate(COLOURS, start=1)}


def answers(geometry: Geometry | None, colours: Sequence[str], view: int) -> Answers:
    """What a caption says: its geometry, the colours of its slots, and 1 + the view's place."""
    places, colour_numbers = _numbers()
    worn = [colour_numbers[colour] for colour in colours]
    worn += [0] * (MOST_SLOTS - len(worn))
    return (0 if geometry is None else places[geometry], *worn, view)


def captions(draw: random.Random, split: Split, count: int) -> list[Caption]:
    """Random captions of a split's scenes, in every form, with and without colours and views."""
    scenes = draw.choices(specs_of(split), cum_weights=_cumulative(split), k=count)
    return [_caption(draw, scene) for scene in scenes]


@cache
def _cumulative(split: Split) -> list[float]:
    return list(itertools.accumulate(probabilities(split)))


def _caption(draw: random.Random, spec: Spec) -> Caption:
    view = 1 + draw.randrange(len(VIEWS)) if draw.random() < VIEW_SHARE else 0
    kind = draw.random()
    if kind < EMPTY_SHARE:
        return Caption(text="", answers=answers(None, (), 0))
    is_colourless = kind < EMPTY_SHARE + COLOURLESS_SHARE
    text = draw.choice(colourless_forms(spec.geometry) if is_colourless else forms(spec))
    said = answers(spec.geometry, () if is_colourless else spec.slot_colours, view)
    return Caption(text=with_view(text, VIEWS[view - 1]) if view else text, answers=said)


class Heads(nn.Module):
    """What a token tells, linearly."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, sum(QUESTIONS))

    def forward(self, text: Float[Tensor, "N T d"]) -> list[Float[Tensor, "N T _"]]:
        """Logits of the answers to each question."""
        return list(self.layer(text).split(QUESTIONS, dim=-1))


def surprise(
    logits: Sequence[Float[Tensor, "N T _"]], said: Int[Tensor, "N Q"], is_word: Bool[Tensor, "N T"]
) -> Float[Tensor, ""]:
    """Cross-entropy of all questions; words and padding of a caption count half each."""
    lost = torch.stack(
        [
            F.cross_entropy(one.mT, said[:, None, q].expand(one.shape[:2]), reduction="none")
            for q, one in enumerate(logits)
        ]
    ).sum(0)
    word, padding = is_word.to(lost.dtype), (~is_word).to(lost.dtype)
    halves = [(lost * part).sum(1) / part.sum(1).clamp_min(1.0) for part in (word, padding)]
    return 0.5 * (halves[0] + halves[1]).mean()


def _posed(teacher: Teacher, found: Sequence[Caption]) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, answers, and which tokens are no padding, on the encoder's device."""
    device = teacher.text_encoder.device
    tokens = tokenize(teacher.tokenizer, [caption.text for caption in found]).to(device)
    said = torch.tensor([caption.answers for caption in found], device=device)
    return tokens, said, tokens != teacher.text_encoder.config.pad_token_id


def teach(teacher: Teacher, config: ReadingConfig, seed: int) -> Heads:
    """Trains the text encoder in place, on its device; returns the heads it was asked through."""
    encoder: Any = teacher.text_encoder
    device, draw = encoder.device, random.Random(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = Heads(encoder.config.d_model).to(device)
    weights = [*encoder.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=config.lr, weight_decay=config.weight_decay)
    encoder.train().requires_grad_(True)
    for step in range(config.steps):
        rate = warmed_cosine(
            config.lr, 0.0, warm_up=config.warm_up, step=step, progress=step / config.steps
        )
        for group in optimiser.param_groups:
            group["lr"] = rate
        tokens, said, is_word = _posed(teacher, captions(draw, "train", config.batch))
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = heads(encode(encoder, tokens))
        loss = surprise([one.float() for one in logits], said, is_word)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, config.clip_norm)
        optimiser.step()
    encoder.requires_grad_(False).eval()
    return heads


@torch.no_grad()
def understood(teacher: Teacher, heads: Heads, split: Split, count: int, seed: int) -> float:
    """Share of a split's captions of which every token tells everything right."""
    tokens, said, _ = _posed(teacher, captions(random.Random(seed), split, count))
    logits = heads(encode(teacher.text_encoder, tokens))
    right = [(one.argmax(-1) == said[:, None, q]).all(1) for q, one in enumerate(logits)]
    return torch.stack(right).all(0).float().mean().item()
