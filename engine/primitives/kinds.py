"""The geometries of the embedded world as signed distances, one for each colour slot.

Object frame: front +X, left side +Y, up +Z; everything lies in the sphere of radius `BOUND` around
the origin. A kind is a function of points and sampled proportions u in [0, 1]^K; it answers with
the distance to its main part and to each of its `PARTS`. A body of mixed colours gives each piece
to the slot whose colour it wears: the eyes of a robot wear the colour of its body.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from engine.primitives import dwellings, machines, simple
from engine.primitives.arrangement import arranged
from engine.primitives.grammar import Geometry
from engine.primitives.shape import Proportions, Slots
from engine.primitives.solids import Points, points

NUM_PROPORTIONS = 6
"""Length K of the proportion vector; a geometry may use fewer."""

SHAPES: dict[str, Callable[[Points, Proportions], Slots]] = {
    **simple.SHAPES,
    **dwellings.SHAPES,
    **machines.SHAPES,
}
"""Every kind's distance function."""


def slots(geometry: Geometry, p: Points, proportions: Float[Tensor, "B K"]) -> Slots:
    """Signed distance of points to each colour slot of a batch of scenes of one geometry.

    `proportions` lie in [0, 1]; K is `NUM_PROPORTIONS`. The slots follow `Spec.slot_colours`: main
    part and parts of an object, first and second solid of a relation, all of a row as one. All
    distances are "B P" and 1-Lipschitz.
    """
    if geometry.relation or geometry.count > 1:
        return arranged(geometry, p, proportions)
    return SHAPES[geometry.kind](p, Proportions(proportions))


def distances(
    geometry: Geometry, xyz: Float[Tensor, "B P 3"], proportions: Float[Tensor, "B K"]
) -> Float[Tensor, "B P slots"]:
    """`slots` of points given as one tensor, the slots stacked on the last axis."""
    return torch.stack(slots(geometry, points(xyz), proportions), dim=-1)
