"""Kernel: gradient to the tables, of features and slopes in one pass."""

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
def _run_sum(b_left, is_left_first, b_right, is_right_first):
    """Two neighbouring stretches' last runs: the right one's goes on in the left one, or not."""
    return tl.where(is_right_first != 0, b_right, b_left + b_right), is_left_first | is_right_first


@triton.jit
@no_type_check
def _is_same_cell(p_x, o_p, o_other, m_both, resolution, b_i, b_j, b_k):
    """Whether another point lies in the same cell. [BP]"""
    b_other_i, _, _ = axis_place(p_x, o_other, m_both, 0, resolution)
    b_other_j, _, _ = axis_place(p_x, o_other, m_both, 1, resolution)
    b_other_k, _, _ = axis_place(p_x, o_other, m_both, 2, resolution)
    return m_both & (b_i == b_other_i) & (b_j == b_other_j) & (b_k == b_other_k)


@triton.jit
@no_type_check
def _loaded(p_d, m_p, p_x):
    """Of a cotangent, in the precision of the positions. [BP]"""
    return tl.load(p_d, mask=m_p, other=0.0).to(p_x.dtype.element_ty)


@triton.jit
@no_type_check
def _entry(b_values, F: tl.constexpr, BLOCK: tl.constexpr):
    """F values of every point side by side. [BP, F]"""
    if F == 1:
        return b_values[0][:, None]
    elif F == 2:
        return tl.join(b_values[0], b_values[1])
    else:
        b_even = tl.join(b_values[0], b_values[2])
        b_odd = tl.join(b_values[1], b_values[3])
        return tl.reshape(tl.join(b_even, b_odd), [BLOCK, F])


@triton.jit
@no_type_check
def encode_bwd_tables_kernel(
    p_x,
    p_resolutions,
    p_seen,
    p_d_features,
    p_d_slopes,
    p_d_tables,
    num_points,
    num_levels,
    first_level,
    stride_fs,
    stride_fp,
    stride_fc,
    stride_ss,
    stride_sp,
    stride_sc,
    stride_sk,
    F: tl.constexpr,
    SIZE: tl.constexpr,
    HASHED: tl.constexpr,
    MERGED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One block of points, one level, one scene; adds to d_tables S L T F with atomics.

    An entry gets weight d_feature + grad weight . d_slope of every point that read it: one atomic
    for both. Points whose gradients are zero (padding, empty space) send nothing. MERGED: runs of
    neighbouring points in one cell, as along a ray, are summed before their last one sends.
    """
    level = first_level + tl.program_id(1)
    scene = tl.program_id(2).to(tl.int64)
    o_p = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    m_p = o_p < num_points
    if not is_level_seen(p_seen, scene, level):
        return

    resolution = tl.load(p_resolutions + level)
    p_x += scene * num_points * 3
    p_table = p_d_tables + (scene * num_levels + level) * SIZE * F
    b_i, b_a, b_r = axis_place(p_x, o_p, m_p, 0, resolution)
    b_j, b_b, b_s = axis_place(p_x, o_p, m_p, 1, resolution)
    b_k, b_c, b_t = axis_place(p_x, o_p, m_p, 2, resolution)

    # Features apart until they are sent: so no value has to change its thread.
    b_d, b_d_x, b_d_y, b_d_z = (), (), (), ()
    m_work = o_p < 0
    for f in tl.static_range(F):
        column = level * F + f
        if p_d_features is not None:
            p_d = p_d_features + scene * stride_fs + column * stride_fc
            b_d += (_loaded(p_d + o_p * stride_fp, m_p, p_x),)
            m_work |= b_d[f] != 0.0
        if p_d_slopes is not None:
            p_d = p_d_slopes + scene * stride_ss + column * stride_sc + o_p * stride_sp
            b_d_x += (_loaded(p_d, m_p, p_x),)
            b_d_y += (_loaded(p_d + stride_sk, m_p, p_x),)
            b_d_z += (_loaded(p_d + 2 * stride_sk, m_p, p_x),)
            m_work |= (b_d_x[f] != 0.0) | (b_d_y[f] != 0.0) | (b_d_z[f] != 0.0)

    m_send = m_p & m_work
    if MERGED:
        m_left = m_p & (o_p % BLOCK != 0)
        m_right = m_p & (o_p + 1 < num_points) & ((o_p + 1) % BLOCK != 0)
        is_first = ~_is_same_cell(p_x, o_p, o_p - 1, m_left, resolution, b_i, b_j, b_k)
        m_send = m_p & ~_is_same_cell(p_x, o_p, o_p + 1, m_right, resolution, b_i, b_j, b_k)

    for i in tl.static_range(2):
        for j in tl.static_range(2):
            for k in tl.static_range(2):
                b_sums = ()
                for f in tl.static_range(F):
                    b_sum = tl.zeros([BLOCK], dtype=p_x.dtype.element_ty)
                    if p_d_features is not None:
                        b_sum += b_a[i] * b_b[j] * b_c[k] * b_d[f]
                    if p_d_slopes is not None:
                        b_sum += b_r[i] * b_b[j] * b_c[k] * b_d_x[f]
                        b_sum += b_a[i] * b_s[j] * b_c[k] * b_d_y[f]
                        b_sum += b_a[i] * b_b[j] * b_t[k] * b_d_z[f]
                    if MERGED:
                        b_sum, _ = tl.associative_scan((b_sum, is_first.to(tl.int32)), 0, _run_sum)
                    b_sums += (b_sum,)
                b_row = corner_row(b_i + i, b_j + j, b_k + k, resolution, SIZE, HASHED)
                o_entry = b_row[:, None] * F + tl.arange(0, F)[None, :]
                b_entry = _entry(b_sums, F, BLOCK)
                tl.atomic_add(p_table + o_entry, b_entry, mask=m_send[:, None], sem="relaxed")
