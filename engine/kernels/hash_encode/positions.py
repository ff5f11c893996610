"""Kernel: gradient to the positions, of features and of slopes (the second order)."""

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
def _one_level(
    p_table,
    p_x,
    p_d_features,
    p_d_slopes,
    o_p,
    m_p,
    m_read,
    resolution,
    stride_fp,
    stride_fc,
    stride_sp,
    stride_sc,
    stride_sk,
    F: tl.constexpr,
    SIZE: tl.constexpr,
    HASHED: tl.constexpr,
):
    """What one level adds to the gradient along x, y and z. [BP] each"""
    o_f = tl.arange(0, F)
    b_i, b_a, b_r = axis_place(p_x, o_p, m_p, 0, resolution)
    b_j, b_b, b_s = axis_place(p_x, o_p, m_p, 1, resolution)
    b_k, b_c, b_t = axis_place(p_x, o_p, m_p, 2, resolution)
    dtype: tl.constexpr = p_x.dtype.element_ty
    m_entry = m_read[:, None]
    if p_d_features is not None:
        p_d = p_d_features + o_p[:, None] * stride_fp + o_f[None, :] * stride_fc
        b_d = tl.load(p_d, mask=m_entry, other=0.0).to(dtype)
    if p_d_slopes is not None:
        p_d = p_d_slopes + o_p[:, None] * stride_sp + o_f[None, :] * stride_sc
        b_d_x = tl.load(p_d, mask=m_entry, other=0.0).to(dtype)
        b_d_y = tl.load(p_d + stride_sk, mask=m_entry, other=0.0).to(dtype)
        b_d_z = tl.load(p_d + 2 * stride_sk, mask=m_entry, other=0.0).to(dtype)

    b_by_x = tl.zeros_like(b_a[0])
    b_by_y = tl.zeros_like(b_a[0])
    b_by_z = tl.zeros_like(b_a[0])
    for i in tl.static_range(2):
        for j in tl.static_range(2):
            for k in tl.static_range(2):
                b_row = corner_row(b_i + i, b_j + j, b_k + k, resolution, SIZE, HASHED)
                o_entry = b_row[:, None] * F + o_f[None, :]
                b_entry = tl.load(p_table + o_entry, mask=m_entry, other=0.0).to(dtype)
                if p_d_features is not None:
                    b_f = tl.sum(b_entry * b_d, axis=1)
                    b_by_x += b_r[i] * b_b[j] * b_c[k] * b_f
                    b_by_y += b_a[i] * b_s[j] * b_c[k] * b_f
                    b_by_z += b_a[i] * b_b[j] * b_t[k] * b_f
                if p_d_slopes is not None:
                    # A weight is linear along each axis: only mixed second derivatives remain.
                    b_fx = tl.sum(b_entry * b_d_x, axis=1)
                    b_fy = tl.sum(b_entry * b_d_y, axis=1)
                    b_fz = tl.sum(b_entry * b_d_z, axis=1)
                    b_by_x += b_r[i] * (b_s[j] * b_c[k] * b_fy + b_b[j] * b_t[k] * b_fz)
                    b_by_y += b_s[j] * (b_r[i] * b_c[k] * b_fx + b_a[i] * b_t[k] * b_fz)
                    b_by_z += b_t[k] * (b_r[i] * b_b[j] * b_fx + b_a[i] * b_s[j] * b_fy)
    return b_by_x, b_by_y, b_by_z


@triton.jit
@no_type_check
def encode_bwd_positions_kernel(
    p_tables,
    p_x,
    p_resolutions,
    p_seen,
    p_d_features,
    p_d_slopes,
    p_d_x,
    num_points,
    num_levels,
    num_dense,
    stride_fs,
    stride_fp,
    stride_fc,
    stride_ss,
    stride_sp,
    stride_sc,
    stride_sk,
    F: tl.constexpr,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One block of points of one scene, all levels in turn; d_x S P 3 is written once."""
    scene = tl.program_id(1).to(tl.int64)
    o_p = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    m_p = o_p < num_points
    p_x += scene * num_points * 3
    p_tables += scene * num_levels * SIZE * F
    if p_d_features is not None:
        p_d_features += scene * stride_fs
    if p_d_slopes is not None:
        p_d_slopes += scene * stride_ss

    b_by_x = tl.zeros([BLOCK], dtype=p_x.dtype.element_ty)
    b_by_y = tl.zeros([BLOCK], dtype=p_x.dtype.element_ty)
    b_by_z = tl.zeros([BLOCK], dtype=p_x.dtype.element_ty)
    for level in range(num_levels):
        o_c = level * F
        p_f = p_d_features
        if p_d_features is not None:
            p_f = p_d_features + o_c * stride_fc
        p_s = p_d_slopes
        if p_d_slopes is not None:
            p_s = p_d_slopes + o_c * stride_sc
        resolution = tl.load(p_resolutions + level)
        m_read = m_p & is_level_seen(p_seen, scene, level)
        p_table = p_tables + level * SIZE * F
        if level < num_dense:
            b_x, b_y, b_z = _one_level(
                p_table, p_x, p_f, p_s, o_p, m_p, m_read, resolution,
                stride_fp, stride_fc, stride_sp, stride_sc, stride_sk, F, SIZE, False,
            )  # fmt: skip
        else:
            b_x, b_y, b_z = _one_level(
                p_table, p_x, p_f, p_s, o_p, m_p, m_read, resolution,
                stride_fp, stride_fc, stride_sp, stride_sc, stride_sk, F, SIZE, True,
            )  # fmt: skip
        b_by_x += b_x
        b_by_y += b_y
        b_by_z += b_z

    p_d_x += scene * num_points * 3
    tl.store(p_d_x + o_p * 3, b_by_x, mask=m_p)
    tl.store(p_d_x + o_p * 3 + 1, b_by_y, mask=m_p)
    tl.store(p_d_x + o_p * 3 + 2, b_by_z, mask=m_p)
