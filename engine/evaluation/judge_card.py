"""A judge's own ceiling: how well it reads single true renders. A ruler's error, not a result."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.evaluation.judge import Judge
from engine.evaluation.judge_pictures import degrade
from engine.evaluation.pools import colour_pool
from engine.evaluation.stage import over_background
from engine.primitives.captions import caption, colourless_caption, forms
from engine.primitives.grammar import Spec, geometries
from engine.primitives.pictures import Pictures

_CHUNK = 512
_MOST_RETRIEVALS = 1000
"""Trials with a pool each; to draw one takes a host some milliseconds."""


@dataclass(frozen=True, kw_only=True)
class Trials:
    """Pictures in [0, 1] with what they show."""

    x: Float[Tensor, "B 3 h w"]
    specs: list[Spec]
    is_textureless: Bool[Tensor, "B"]

    @classmethod
    def of(cls, pictures: Pictures, *, degraded: bool = False) -> "Trials":
        """Rendered pictures over the judges' background, or as those of the training."""
        plain = pictures.is_textureless
        if degraded:
            chunks = zip(pictures.rgba.split(_CHUNK), plain.split(_CHUNK), strict=True)
            x = torch.cat([degrade(*chunk) for chunk in chunks])
        else:
            values = pictures.rgba.float() / 255.0
            x = over_background(values[:, :3], values[:, 3:])
        return cls(x=x, specs=pictures.specs, is_textureless=plain)

    def only(self, rows: Sequence[int]) -> "Trials":
        """Some of the trials."""
        index = torch.tensor(rows, dtype=torch.long, device=self.x.device)
        return Trials(
            x=self.x[index],
            specs=[self.specs[row] for row in rows],
            is_textureless=self.is_textureless[index],
        )

    def coloured(self, least: int) -> "Trials":
        """Those that are not textureless and show at least so many colours."""
        plain = self.is_textureless.tolist()
        rows = [i for i, s in enumerate(self.specs) if len(s.colours) >= least and not plain[i]]
        return self.only(rows)

    def textureless(self) -> "Trials":
        """Those without colours."""
        return self.only(self.is_textureless.nonzero()[:, 0].tolist())


def cosines(judge: Judge, trials: Trials, captions: Sequence[Sequence[str]]) -> Tensor:
    """p.c of each trial with each of its own captions, "B C"; all have equally many."""
    number = {text: i for i, text in enumerate(dict.fromkeys(t for row in captions for t in row))}
    index = torch.tensor([[number[text] for text in row] for row in captions], device=judge.device)
    pictures, words = judge.embed_pictures(trials.x), judge.embed_captions(list(number))
    return torch.einsum("bd,bcd->bc", pictures, words[index])


def _firsts(found: Float[Tensor, "B C"]) -> float:
    """Share of rows whose first column is the largest; whoever cannot tell has not found it."""
    return float((found[:, :1] > found[:, 1:]).all(1).float().mean())


def swap_accuracy(judge: Judge, trials: Trials, draw: random.Random | None = None) -> float:
    """Share of trials whose caption beats that of the two first colours exchanged.

    With `draw` both captions take a random form each, otherwise the canonical one. NaN for none.
    """
    if not trials.specs:
        return float("nan")
    say = caption if draw is None else lambda spec: draw.choice(forms(spec))
    pairs = [(say(spec), say(spec.swapped())) for spec in trials.specs]
    return _firsts(cosines(judge, trials, pairs))


def retrieval(judge: Judge, trials: Trials) -> float:
    """Share of trials whose caption is first of its pool of 64. NaN for none."""
    if not trials.specs:
        return float("nan")
    pools = [[caption(other) for other in colour_pool(spec)] for spec in trials.specs]
    return _firsts(cosines(judge, trials, pools))


def geometry_rows(found: Sequence[Spec]) -> Int[Tensor, "B"]:
    """The number of each scene's geometry."""
    number = {geometry: i for i, geometry in enumerate(geometries())}
    return torch.tensor([number[spec.geometry] for spec in found], dtype=torch.long)


def geometry_accuracy(judge: Judge, trials: Trials) -> float:
    """Share of textureless trials whose geometry is first of all geometries. NaN for none."""
    if not trials.specs:
        return float("nan")
    others = {own: [own, *(g for g in geometries() if g != own)] for own in geometries()}
    choices = [[colourless_caption(g) for g in others[spec.geometry]] for spec in trials.specs]
    return _firsts(cosines(judge, trials, choices))


def card(judge: Judge, pictures: Pictures, seed: int) -> Mapping[str, float]:
    """The figures of a judge on single pictures, and the numbers of pictures behind them."""
    clear, degraded = Trials.of(pictures), Trials.of(pictures, degraded=True)
    coloured, textureless = clear.coloured(2), clear.textureless()
    sought = clear.coloured(1)
    sought = sought.only(range(min(len(sought.specs), _MOST_RETRIEVALS)))
    return {
        "swap": swap_accuracy(judge, coloured),
        "swap_any_form": swap_accuracy(judge, coloured, random.Random(seed)),
        "swap_degraded": swap_accuracy(judge, degraded.coloured(2)),
        "retrieval": retrieval(judge, sought),
        "geometry": geometry_accuracy(judge, textureless),
        "num_swap": len(coloured.specs),
        "num_retrieval": len(sought.specs),
        "num_geometry": len(textureless.specs),
    }
