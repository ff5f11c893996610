"""Accuracy: what the judge takes a subject for, when it may say anything that the world can show.

kind     the geometry (kind, relation and count) of the best of all captions is the true one
colour   of slot k: the best caption of the true geometry with as many colours has the true one
         there; so it is asked whether or not the geometry was found, and chance is about 1 in 12
swap     the own caption scores above its twin with the first two colours exchanged

`scores` are those of all scenes, C of them, in the order of `specs`.
"""

from collections import defaultdict
from collections.abc import Mapping
from functools import cache

from jaxtyping import Float
from torch import Tensor

from engine.evaluation.lexicon import spec_places
from engine.primitives.grammar import Geometry, Spec, specs


@cache
def _siblings() -> Mapping[tuple[Geometry, int], list[int]]:
    """Places of the scenes of one geometry and one number of colours."""
    found: dict[tuple[Geometry, int], list[int]] = defaultdict(list)
    for k, spec in enumerate(specs()):
        found[spec.geometry, len(spec.colours)].append(k)
    return found


def taken_for(scores: Float[Tensor, "C"]) -> Spec:
    """The scene whose caption scores best of all."""
    return specs()[int(scores.argmax())]


def colours_right(scores: Float[Tensor, "C"], spec: Spec) -> tuple[bool, ...]:
    """Whether each named colour is right, in the order of `Spec.colours`."""
    among = _siblings()[spec.geometry, len(spec.colours)]
    best = specs()[among[int(scores[among].argmax())]]
    return tuple(a == b for a, b in zip(best.colours, spec.colours, strict=True))


def beats_swap(scores: Float[Tensor, "C"], spec: Spec) -> bool | None:
    """Whether the caption scores above its colour swap; None where there is only one colour."""
    if len(spec.colours) < 2:
        return None
    at = spec_places()
    return bool(scores[at[spec]] > scores[at[spec.swapped()]])
