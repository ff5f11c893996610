"""Kernel: features of points, and their slopes, from the tables."""

from typing import no_type_check

import triton
import triton.language as tl

from engine.kernels.hash_encode.cells import (
    axis_place,
    corner_row,
    is_level_seen,
)


@triton.jit
@no_type_check
def _write(p_out, b_parts, o_p, m_p, num_points, F: tl.constexpr, BLOCK: tl.constexpr):
    """The sums of both sides' parts [2 BP, F], column by column: whole lines of memory."""
    b_sum = tl.sum(tl.reshape(b_parts, [BLOCK, 2, F]), 1)
    o_f = tl.arange(0, F)[None, :]
    for f in tl.static_range(F):
        b_column = tl.sum(tl.where(o_f == f, b_sum, 0.0), 1)
        tl.store(p_out + f * num_points + o_p, b_column, mask=m_p)


@triton.jit
@no_type_check
def encode_fwd_kernel(
    p_tables,
    p_x,
    p_resolutions,
    p_seen,
    p_features,
    p_slopes,
    num_points,
    num_levels,
    first_level,
    F: tl.constexpr,
    SIZE: tl.constexpr,
    HASHED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One block of points, one level, one scene; features S L F P, slopes S 3 L F P in memory.

    Blocks are the fastest axis of the grid, so that one level's table is read at a time. A point
    has two neighbouring threads, one for the lower and one for the upper side along x: they read
    both ends of an edge, mostly of one sector, in one instruction.
    """
    level = first_level + tl.program_id(1)
    scene = tl.program_id(2).to(tl.int64)
    o_half = tl.arange(0, 2 * BLOCK)
    o_side = o_half % 2
    # Both threads find the point's place, so that neither has to hand it over.
    o_p = tl.program_id(0) * BLOCK + o_half // 2
    o_f = tl.arange(0, F)
    m_p = o_p < num_points
    m_read = m_p & is_level_seen(p_seen, scene, level)

    resolution = tl.load(p_resolutions + level)
    p_x += scene * num_points * 3
    p_table = p_tables + (scene * num_levels + level) * SIZE * F
    b_i, b_a, b_r = axis_place(p_x, o_p, m_p, 0, resolution)
    b_j, b_b, b_s = axis_place(p_x, o_p, m_p, 1, resolution)
    b_k, b_c, b_t = axis_place(p_x, o_p, m_p, 2, resolution)
    b_weight = tl.where(o_side == 0, b_a[0], b_a[1])[:, None]

    # Of a side: its value between four corners, and that by y and by z.
    b_face = tl.zeros([2 * BLOCK, F], dtype=p_x.dtype.element_ty)
    if p_slopes is not None:
        b_by_y = tl.zeros([2 * BLOCK, F], dtype=p_x.dtype.element_ty)
        b_by_z = tl.zeros([2 * BLOCK, F], dtype=p_x.dtype.element_ty)
    for j in tl.static_range(2):
        for k in tl.static_range(2):
            b_row = corner_row(b_i + o_side, b_j + j, b_k + k, resolution, SIZE, HASHED)
            o_entry = b_row[:, None] * F + o_f[None, :]
            b_entry = tl.load(p_table + o_entry, mask=m_read[:, None], other=0.0)
            b_entry = b_entry.to(p_x.dtype.element_ty)
            b_face += (b_b[j] * b_c[k])[:, None] * b_entry
            if p_slopes is not None:
                b_by_y += (b_s[j] * b_c[k])[:, None] * b_entry
                b_by_z += (b_b[j] * b_t[k])[:, None] * b_entry

    o_out = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    m_out = o_out < num_points
    stride = num_levels * F * num_points
    p_features += scene * stride + level * F * num_points
    _write(p_features, b_weight * b_face, o_out, m_out, num_points, F, BLOCK)
    if p_slopes is not None:
        b_slope = tl.where(o_side == 0, b_r[0], b_r[1])[:, None]
        p_slopes += scene * stride * 3 + level * F * num_points
        _write(p_slopes, b_slope * b_face, o_out, m_out, num_points, F, BLOCK)
        _write(p_slopes + stride, b_weight * b_by_y, o_out, m_out, num_points, F, BLOCK)
        _write(p_slopes + 2 * stride, b_weight * b_by_z, o_out, m_out, num_points, F, BLOCK)
