"""Which triangle of a chart covers which texel.

Texel (row i, column j) of an h x w picture is the square around u = (j + .5) / w, v = (i + .5) / h.
It belongs to a triangle that covers its centre; on a common edge, to the one of higher number.
Axes: F triangles, T texels, P candidates, which are the texels in the boxes around triangles.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_CANDIDATES_AT_ONCE = 2**21
_SLACK = 1e-4
"""By which a barycentric coordinate may be negative: no texel on an edge is lost to rounding."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """The texels that some triangle covers, row by row."""

    row: Int[Tensor, "T"]
    column: Int[Tensor, "T"]
    face: Int[Tensor, "T"]
    share: Float[Tensor, "T 3"]
    """Barycentric coordinates of the texel's centre in its triangle."""


def coverage(corners: Float[Tensor, "F 3 2"], height: int, width: int) -> Coverage:
    """Texels of an h x w picture under triangles given by their corners' (u, v) in [0, 1]."""
    size = torch.tensor([width, height], device=corners.device)
    # From here on, centres have whole numbers.
    places = corners * size - 0.5
    low = places.amin(dim=1).ceil().long().clamp_min(0)
    high = torch.minimum(places.amax(dim=1).floor().long(), size - 1)
    box = (high - low + 1).clamp_min(0)
    owner = torch.full((height * width,), -1, device=corners.device)
    for faces in _groups(box.prod(dim=-1)):
        column, row, face = _candidates(faces, low[faces], box[faces])
        texel, face = (
            x[_is_inside(column, row, places[face])] for x in (row * width + column, face)
        )
        # Which of several writes wins is left open by an assignment, but not by a maximum.
        owner.scatter_reduce_(0, texel, face, "amax")
    texel = (owner >= 0).nonzero()[:, 0]
    face, row, column = owner[texel], texel // width, texel % width
    share = _shares(column, row, places[face]).clamp_min(0.0)
    return Coverage(
        row=row, column=column, face=face, share=share / share.sum(dim=-1, keepdim=True)
    )


def _groups(count: Int[Tensor, "F"]) -> tuple[Int[Tensor, "f"], ...]:
    """The triangles in groups of about `_CANDIDATES_AT_ONCE` candidates."""
    number = count.cumsum(0) // _CANDIDATES_AT_ONCE
    lengths = torch.unique_consecutive(number, return_counts=True)[1].tolist()
    return torch.arange(len(count), device=count.device).split(lengths)


def _candidates(
    faces: Int[Tensor, "f"], low: Int[Tensor, "f 2"], box: Int[Tensor, "f 2"]
) -> tuple[Int[Tensor, "P"], Int[Tensor, "P"], Int[Tensor, "P"]]:
    """Columns, rows and triangles of all texels in the triangles' boxes."""
    count = box.prod(dim=-1)
    number = torch.arange(len(faces), device=faces.device).repeat_interleave(count)
    place = torch.arange(len(number), device=faces.device) - (count.cumsum(0) - count)[number]
    wide, first = box[number, 0], low[number]
    return first[:, 0] + place % wide, first[:, 1] + place // wide, faces[number]


def _is_inside(
    column: Int[Tensor, "P"], row: Int[Tensor, "P"], corners: Float[Tensor, "P 3 2"]
) -> Bool[Tensor, "P"]:
    return (_shares(column, row, corners) >= -_SLACK).all(dim=-1)


def _shares(
    column: Int[Tensor, "P"], row: Int[Tensor, "P"], corners: Float[Tensor, "P 3 2"]
) -> Float[Tensor, "P 3"]:
    """Barycentric coordinates of points; -1 in a triangle without area."""
    x = column[:, None] - corners[..., 0]
    y = row[:, None] - corners[..., 1]
    # Twice the signed area of the triangle that the point makes with the side facing corner k.
    part = torch.stack(
        [
            x[:, (k + 1) % 3] * y[:, (k + 2) % 3] - x[:, (k + 2) % 3] * y[:, (k + 1) % 3]
            for k in range(3)
        ],
        dim=-1,
    )
    whole = part.sum(dim=-1, keepdim=True)
    return torch.where(whole.abs() > 1e-12, part / whole, -1.0)
