"""The objects of the embedded world as signed distances, one pair of colour slots a kind.

Object frame: front +X, left side +Y, up +Z; everything lies in the sphere of radius `BOUND` around
the origin, save corners of the bed (by up to 0.07), the hammer and the airplane (0.02), which the
tracer cuts off. A kind is a function of points and sampled proportions u in [0, 1]^K; it answers
with the distance to its main part and, where it has one, to its accent. A body of mixed colours
gives each piece to the slot whose colour it wears: the eyes of a robot wear the colour of its body.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from engine.primitives import dwellings, machines, simple
from engine.primitives.shape import Proportions, Slots
from engine.primitives.solids import Points, points

BOUND = 0.84
"""Radius of the sphere around the origin that holds every object."""

NUM_PROPORTIONS = 6
"""Length K of the proportion vector; a kind may use fewer."""

SHAPES: dict[str, Callable[[Points, Proportions], Slots]] = {
    **simple.SHAPES,
    **dwellings.SHAPES,
    **machines.SHAPES,
}
"""Every kind's distance function."""


def slots(kind: str, p: Points, proportions: Float[Tensor, "B K"]) -> Slots:
    """Signed distance of points to each colour slot of a batch of objects of one kind.

    `proportions` lie in [0, 1]; K is `NUM_PROPORTIONS`. A kind of one piece has one slot, the
    others two: main part, accent. All distances are "B P" and 1-Lipschitz.
    """
    return SHAPES[kind](p, Proportions(proportions))


def distances(
    kind: str, xyz: Float[Tensor, "B P 3"], proportions: Float[Tensor, "B K"]
) -> Float[Tensor, "B P slots"]:
    """`slots` of points given as one tensor, the slots stacked on the last axis."""
    return torch.stack(slots(kind, points(xyz), proportions), dim=-1)
