"""The captions that a judge is trained on, as tables from which a device draws without waiting.

Legend: S scenes, C captions of all scenes, T words, N draws, G groups of wrong scenes, K in each.
A view word may stand behind any caption, right or wrong, so a judge learns to pass over it.
"""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Int
from torch import Tensor

from engine.evaluation.judge import numbers
from engine.guidance.prompts import VIEWS
from engine.primitives.grammar import COLOURS, COUNTS, RELATIONS, Geometry, Spec

CANONICAL_SHARE = 0.5
"""How often a caption has its canonical form; else any form, evenly."""

VIEW_SHARE = 0.3
"""How often a view word stands behind a caption."""

NUM_GROUPS = 4
"""Permuted colours, a recoloured slot, another geometry in the same colours, a near relative."""

GROUP_WIDTH = 12

_Key = tuple[Geometry, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class CaptionTable:
    """All forms of the captions of S scenes."""

    tokens: Int[Tensor, "C T"]
    """Scene by scene, the canonical form first; room for a view word behind the longest."""
    length: Int[Tensor, "C"]
    first: Int[Tensor, "S"]
    """Where a scene's captions begin, and how many there are."""
    count: Int[Tensor, "S"]
    views: Int[Tensor, "V W"]
    """The words of each view; the last row is none."""

    @classmethod
    def of(cls, forms: Sequence[Sequence[str]], words: Sequence[str]) -> "CaptionTable":
        """The table of each scene's captions, in the numbers of a judge's words."""
        views = numbers([f", {view}" for view in VIEWS], words)
        found = numbers([text for of_one in forms for text in of_one], words)
        count = torch.tensor([len(of_one) for of_one in forms])
        return cls(
            tokens=torch.nn.functional.pad(found, (0, views.shape[1])),
            length=(found > 0).sum(1),
            first=count.cumsum(0) - count,
            count=count,
            views=torch.cat([views, torch.zeros_like(views[:1])]),
        )

    def to(self, device: torch.device) -> "CaptionTable":
        """The table on a device."""
        return CaptionTable(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def draw(self, scenes: Int[Tensor, "N"]) -> Int[Tensor, "N T"]:
        """A random caption of each scene, with or without a random view word."""
        device = scenes.device
        any_form = (torch.rand(scenes.shape, device=device) * self.count[scenes]).long()
        is_canonical = torch.rand(scenes.shape, device=device) < CANONICAL_SHARE
        caption = self.first[scenes] + torch.where(is_canonical, 0, any_form)
        none = len(self.views) - 1
        view = torch.randint(none, scenes.shape, device=device)
        view = torch.where(torch.rand(scenes.shape, device=device) < VIEW_SHARE, view, none)
        places = torch.arange(self.views.shape[1], device=device)
        places = self.length[caption][:, None] + places
        return self.tokens[caption].scatter(1, places, self.views[view])


def _permuted(spec: Spec) -> Iterator[_Key]:
    for colours in itertools.permutations(spec.colours):
        yield spec.geometry, colours


def _recoloured(spec: Spec) -> Iterator[_Key]:
    for slot, colour in itertools.product(range(len(spec.colours)), COLOURS):
        yield spec.geometry, (*spec.colours[:slot], colour, *spec.colours[slot + 1 :])


def _relatives(spec: Spec) -> Iterator[_Key]:
    """One colour more or fewer, another count, another relation, the solids exchanged."""
    if spec.relation:
        pairs = (spec.kind, spec.other), (spec.other, spec.kind)
        for relation, (first, second) in itertools.product(RELATIONS, pairs):
            for colours in itertools.permutations(spec.colours):
                yield Geometry(first, relation, second), colours
        return
    for count in (1, *COUNTS):
        yield Geometry(spec.kind, count=count), spec.colours
    yield spec.geometry, spec.colours[:-1]
    for colour in COLOURS:
        yield spec.geometry, (*spec.colours, colour)


def hard_negatives(scenes: Sequence[Spec], seed: int) -> Int[Tensor, "S G K"]:
    """Scenes easily confused with each, as indices into `scenes`, in groups (see `NUM_GROUPS`).

    A group that has none for a scene is filled from the recoloured ones, then from all scenes.
    """
    number = {(spec.geometry, spec.colours): i for i, spec in enumerate(scenes)}
    wearing: dict[tuple[str, ...], list[int]] = {}
    for i, spec in enumerate(scenes):
        wearing.setdefault(spec.colours, []).append(i)
    draw = random.Random(seed)

    def known(keys: Iterator[_Key], own: int) -> list[int]:
        return [number[key] for key in keys if number.get(key, own) != own]

    rows: list[list[list[int]]] = []
    for own, spec in enumerate(scenes):
        recoloured = known(_recoloured(spec), own)
        reshaped = [i for i in wearing[spec.colours] if i != own]
        groups = [known(_permuted(spec), own), recoloured, reshaped, known(_relatives(spec), own)]
        spare = recoloured or [i for i in range(len(scenes)) if i != own]
        rows.append([draw.choices(group or spare, k=GROUP_WIDTH) for group in groups])
    return torch.tensor(rows)
