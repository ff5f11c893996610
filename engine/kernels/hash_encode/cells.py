"""Where a point lies in a level's lattice; shared by all kernels of this op.

Names: p_ pointer, o_ offsets, m_ mask, b_ a block's values. Shapes' checks are not for what Triton
compiles: hence `no_type_check`.
"""

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def axis_place(p_x, o_p, m_p, axis: tl.constexpr, resolution):
    """Along one axis: cell; weights of its lower and upper side; their slopes. [BP] each

    Slopes are 0 outside the cube, where points are moved to its faces.
    """
    b_x = tl.load(p_x + o_p * 3 + axis, mask=m_p, other=0.0)
    b_unit = 0.5 * b_x + 0.5
    b_inside = (b_unit >= 0.0) & (b_unit <= 1.0)
    b_scaled = tl.minimum(tl.maximum(b_unit, 0.0), 1.0) * resolution
    b_cell = tl.minimum(tl.floor(b_scaled).to(tl.int32), resolution - 1)
    b_upper = b_scaled - b_cell
    b_rate = tl.where(b_inside, 0.5 * resolution, 0.0)
    return b_cell, (1.0 - b_upper, b_upper), (-b_rate, b_rate)


@triton.jit
@no_type_check
def corner_row(b_x, b_y, b_z, resolution, SIZE: tl.constexpr, HASHED: tl.constexpr):
    """Row of a lattice corner in its level's table. [BP]"""
    if HASHED:
        # The low bits of a product need no more than the factors' low bits.
        b_hash = b_x.to(tl.uint32) ^ (b_y.to(tl.uint32) * 2654435761)
        b_hash = b_hash ^ (b_z.to(tl.uint32) * 805459861)
        b_row = (b_hash & (SIZE - 1)).to(tl.int32)
    else:
        side = resolution + 1
        b_row = (b_z * side + b_y) * side + b_x
    return b_row


@triton.jit
@no_type_check
def is_level_seen(p_seen, scene, level):
    """Whether a scene's level is there already."""
    is_seen = level >= 0
    if p_seen is not None:
        is_seen = level < tl.load(p_seen + scene)
    return is_seen
