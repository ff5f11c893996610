"""Which scenes are for training, for tuning and for reporting, and how often each is drawn.

A scene's split follows from a hash of its caption, so it never moves. Free of torch.
"""

import hashlib
import math
import random
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Literal

from engine.primitives.captions import caption
from engine.primitives.grammar import PARTS, Spec, specs

Split = Literal["train", "dev", "test"]

SHARES: Mapping[str, float] = {
    "one colour": 0.20,
    "two colours": 0.38,
    "three colours": 0.16,
    "on": 0.10,
    "next to": 0.08,
    "row": 0.08,
}
"""How often each family of scenes is drawn; within a family its geometries evenly."""

ONE_PIECE_WEIGHT = 2.0
"""How often a kind of one piece is drawn in one colour, relative to a kind of several parts."""

_SALT = "dreambatch primitives 2"
_TEST_SHARE = 0.27
_DEV_SHARE = 0.08
_LEAST = 2.0**-54


def _share(text: str) -> float:
    digest = hashlib.sha256(f"{_SALT}: {text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split(spec: Spec) -> Split:
    """Which split a scene belongs to, fixed for ever by a hash of its caption."""
    share = _share(caption(spec))
    if share < _TEST_SHARE:
        return "test"
    return "dev" if share < _TEST_SHARE + _DEV_SHARE else "train"


@cache
def specs_of(name: Split) -> tuple[Spec, ...]:
    """All scenes of one split, in the order of `specs`."""
    return tuple(spec for spec in specs() if split(spec) == name)


def family(spec: Spec) -> str:
    """The family of `SHARES` that a scene belongs to."""
    if spec.relation:
        return spec.relation
    if spec.count > 1:
        return "row"
    return ("one colour", "two colours", "three colours")[len(spec.colours) - 1]


@cache
def probabilities(name: Split | None) -> tuple[float, ...]:
    """How often each scene of a split is drawn, in the order of `specs_of`; None is all splits."""
    chosen = specs() if name is None else specs_of(name)
    weights = [
        ONE_PIECE_WEIGHT if family(spec) == "one colour" and not PARTS[spec.kind] else 1.0
        for spec in chosen
    ]
    siblings = Counter((family(spec), spec.geometry) for spec in chosen)
    weights = [
        weight / siblings[family(spec), spec.geometry]
        for weight, spec in zip(weights, chosen, strict=True)
    ]
    totals = dict.fromkeys(map(family, chosen), 0.0)
    for weight, spec in zip(weights, chosen, strict=True):
        totals[family(spec)] += weight
    present = sum(SHARES[name] for name in totals)
    return tuple(
        SHARES[family(spec)] / present * weight / totals[family(spec)]
        for weight, spec in zip(weights, chosen, strict=True)
    )


def choose(name: Split, count: int, seed: int) -> list[Spec]:
    """`count` different scenes of a split, drawn as often as the training pictures are.

    Efraimidis and Spirakis' weighted sampling without replacement: the largest log(u) / w win.
    """
    chosen, weights = specs_of(name), probabilities(name)
    if not 1 <= count <= len(chosen):
        raise ValueError(f"{name} split: expected 1 to {len(chosen)} scenes, got {count}")
    draw = random.Random(seed)
    # As powers, u^(1/w), the keys of rare scenes would all be 0.
    keys = [math.log(draw.random() or _LEAST) / weight for weight in weights]
    order = sorted(range(len(chosen)), key=lambda index: -keys[index])
    return [chosen[index] for index in order[:count]]
