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

    Blocks are the fastest axis of the grid, so that one level's table is read at a time. A column
    of features is contiguous in P: what a program writes is whole lines.
    """
    level = first_level + tl.program_id(1)
    scene = tl.program_id(2).to(tl.int64)
    o_p = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    o_f = tl.arange(0, F)
    m_p = o_p < num_points
    m_read = m_p & is_level_seen(p_seen, scene, level)

    resolution = tl.load(p_resolutions + level)
    p_x += scene * num_points * 3
    p_table = p_tables + (scene * num_levels + level) * SIZE * F
    b_i, b_a, b_r = axis_place(p_x, o_p, m_p, 0, resolution)
    b_j, b_b, b_s = axis_place(p_x, o_p, m_p, 1, resolution)
    b_k, b_c, b_t = axis_place(p_x, o_p, m_p, 2, resolution)

    b_value = tl.zeros([BLOCK, F], dtype=p_x.dtype.element_ty)
    if p_slopes is not None:
        b_by_x = tl.zeros([BLOCK, F], dtype=p_x.dtype.element_ty)
        b_by_y = tl.zeros([BLOCK, F], dtype=p_x.dtype.element_ty)
        b_by_z = tl.zeros([BLOCK, F], dtype=p_x.dtype.element_ty)
    for i in tl.static_range(2):
        for j in tl.static_range(2):
            for k in tl.static_range(2):
                b_row = corner_row(b_i + i, b_j + j, b_k + k, resolution, SIZE, HASHED)
                o_entry = b_row[:, None] * F + o_f[None, :]
                b_entry = tl.load(p_table + o_entry, mask=m_read[:, None], other=0.0)
                b_entry = b_entry.to(p_x.dtype.element_ty)
                b_value += (b_a[i] * b_b[j] * b_c[k])[:, None] * b_entry
                if p_slopes is not None:
                    b_by_x += (b_r[i] * b_b[j] * b_c[k])[:, None] * b_entry
                    b_by_y += (b_a[i] * b_s[j] * b_c[k])[:, None] * b_entry
                    b_by_z += (b_a[i] * b_b[j] * b_t[k])[:, None] * b_entry

    o_out = (level * F + o_f)[None, :] * num_points + o_p[:, None]
    stride = num_levels * F * num_points
    p_features += scene * stride
    tl.store(p_features + o_out, b_value, mask=m_p[:, None])
    if p_slopes is not None:
        p_slopes += scene * stride * 3
        tl.store(p_slopes + o_out, b_by_x, mask=m_p[:, None])
        tl.store(p_slopes + stride + o_out, b_by_y, mask=m_p[:, None])
        tl.store(p_slopes + 2 * stride + o_out, b_by_z, mask=m_p[:, None])
