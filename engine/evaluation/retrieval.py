"""Retrieval: the place of the own caption in a pool, by falling score.

Place 0 is a hit. A tie counts against the own caption: a judge that cannot tell has not found it.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from engine.evaluation.lexicon import geometry_places, spec_places
from engine.primitives.grammar import Geometry, Spec


def place(scores: Float[Tensor, "C"], own: int, others: Sequence[int]) -> int:
    """How many of the other captions score at least as well as the own one."""
    return int((scores[list(others)] >= scores[own]).sum())


def colour_place(scores: Float[Tensor, "C"], spec: Spec, pool: Sequence[Spec]) -> int:
    """Place of the scene's caption in a pool; `scores` are those of all scenes."""
    at = spec_places()
    return place(scores, at[spec], [at[other] for other in pool if other != spec])


def geometry_place(scores: Float[Tensor, "C"], geometry: Geometry) -> int:
    """Place of the geometry's colourless caption among all of them."""
    own = geometry_places()[geometry]
    return place(scores, own, [k for k in range(len(scores)) if k != own])
