"""Multiresolution hash encoding (Instant NGP, arXiv 2201.05989), for S scenes at once.

Level l divides the cube [-1, 1]^3 into n_l^3 cells. A corner (i, j, k) of a cell has row
(i p0 xor j p1 xor k p2) mod T of the level's table; levels with at most T corners are indexed
directly. A point's feature is the trilinear interpolation of its cell's eight entries. Points
outside the cube are moved to its faces, and have no slope there.

tables       entries                              S L T F
x            points                               S P 3
resolutions  n_l, coarse to fine                  L integers
seen         levels that are there, by scene      S, or None for all; others give 0
dtype        in which entries are read and values written; None for that of the tables.
             Weights, sums and the gradients of the tables are fp32 (fp64 where x is)
features     y                                    S P L*F, coarse to fine
slopes       dy/dx                                S P L*F 3

Where kernels run, Triton computes (`fused.py`), elsewhere plain torch (`reference.py`).
README.md has the derivatives, and says why normals take slopes forward.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine import kernels
from engine.kernels.hash_encode import reference


def encode(
    tables: Float[Tensor, "S L T F"],
    x: Float[Tensor, "S P 3"],
    resolutions: Sequence[int],
    seen: Int[Tensor, "S"] | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "S P L*F"]:
    """Features of points; differentiable twice in tables and points.

    Raises ValueError if the kernels cannot serve these shapes.
    """
    if not kernels.is_fused(x):
        return reference.encode(tables, x, resolutions, seen, dtype=dtype)
    from engine.kernels.hash_encode import fused

    return fused.encode(tables, x, resolutions, seen, dtype=dtype)


def encode_with_slopes(
    tables: Float[Tensor, "S L T F"],
    x: Float[Tensor, "S P 3"],
    resolutions: Sequence[int],
    seen: Int[Tensor, "S"] | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> tuple[Float[Tensor, "S P L*F"], Float[Tensor, "S P L*F 3"]]:
    """Features and their slopes; differentiable once in tables and points.

    One pass over the tables gives both, and one pass of atomics takes both gradients back: what a
    loss on analytic normals needs, without a second gather and a second scatter.

    Raises ValueError if the kernels cannot serve these shapes.
    """
    if not kernels.is_fused(x):
        return reference.encode_with_slopes(tables, x, resolutions, seen, dtype=dtype)
    from engine.kernels.hash_encode import fused

    return fused.encode_with_slopes(tables, x, resolutions, seen, dtype=dtype)


def pull(
    slopes: Float[Tensor, "S P C 3"], cotangent: Float[Tensor, "S P C"]
) -> Float[Tensor, "S P 3"]:
    """Gradient to the points from that to their features, by their slopes; differentiable once."""
    if not kernels.is_fused(slopes):
        return reference.pull(slopes, cotangent)
    from engine.kernels.hash_encode import fused

    return fused.pull(slopes, cotangent)
