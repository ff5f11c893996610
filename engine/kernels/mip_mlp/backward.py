"""Gradients to what each layer of a tile of points gives: along the slope's cotangent up to the
outputs, then down again.

The names are README.md's, whose m is `b_n` here: a norm without gain and shift.
"""

# pyright: reportArgumentType=false, reportIndexIssue=false, reportOptionalMemberAccess=false
# pyright: reportAttributeAccessIssue=false

from typing import no_type_check

import triton
import triton.language as tl

from engine.kernels.mip_mlp.tiles import (
    along,
    column,
    encoding,
    matrix,
    mean,
    norm_row,
    normed,
    silu,
    silu_bend,
    silu_slope,
)
from engine.kernels.tiles import dot


@triton.jit
@no_type_check
def _store_sum(p_sums, index, b_t, H: tl.constexpr, BH: tl.constexpr):
    o_h = tl.arange(0, BH)
    tl.store(p_sums + index * H + o_h, tl.sum(b_t, 0), mask=o_h < H)


@triton.jit
@no_type_check
def mip_mlp_along_kernel(
    p_x,
    p_kept,
    p_w_in,
    p_w1,
    p_w2,
    p_gain,
    p_h,
    p_a,
    p_g_s,
    p_g_n,
    p_u,
    p_v,
    p_v_s,
    p_y_a,
    p_y,
    p_sums,
    num_points,
    L: tl.constexpr,
    H: tl.constexpr,
    NUM_BLOCKS: tl.constexpr,
    BF: tl.constexpr,
    BH: tl.constexpr,
    BP: tl.constexpr,
):
    DTYPE: tl.constexpr = p_h.dtype.element_ty
    scene = tl.program_id(1).to(tl.int64)
    layer = tl.num_programs(1).to(tl.int64) * num_points * H
    o_p, o_h = tl.arange(0, BP), tl.arange(0, BH)
    first = tl.program_id(0) * BP
    m_p = first + o_p < num_points
    m_h = (o_h < H)[None, :]
    m_t = m_p[:, None] & m_h
    # Wide offsets are a tile's, narrow ones those within it: wide ones of each number would take
    # half of the registers.
    start = scene * num_points + first
    o_t = o_p[:, None] * H + o_h[None, :]
    o_sums = (scene * tl.num_programs(0) + tl.program_id(0)) * NUM_BLOCKS
    b_slope = encoding(p_x, p_kept, scene, start, o_p, m_p, L, BF)[1]
    o_f = tl.arange(0, BF)
    m_f = m_p[:, None] & (o_f < 6 * L)[None, :]
    b_u = tl.load(p_u + start * 3 + o_p[:, None] * 3 + (o_f % 3)[None, :], mask=m_f, other=0.0)
    b_v = dot(b_u * b_slope, matrix(p_w_in, scene, 6 * L, H, BF, BH), DTYPE)
    b_h = tl.load(p_h + start * H + o_t, mask=m_t, other=0.0).to(tl.float32)
    b_g = tl.load(p_g_n + start * H + o_t, mask=m_t, other=0.0).to(tl.float32)
    tl.store(p_y + start * H + o_t, b_v * b_g * silu_bend(b_h, DTYPE), mask=m_t)
    b_v *= silu_slope(b_h, DTYPE)
    for k in range(NUM_BLOCKS):
        block = scene * NUM_BLOCKS + k
        b_h = tl.load(p_h + (start * H + k * layer) + o_t, mask=m_t, other=0.0).to(tl.float32)
        b_n, b_r = normed(b_h, m_h, k > 0, H)
        b_tilt = mean(b_v * b_n, H)
        b_v = along(b_v, b_n, b_r, m_h, k > 0, H)
        b_g = tl.load(p_g_n + (start * H + k * layer) + o_t, mask=m_t, other=0.0).to(tl.float32)
        _store_sum(p_sums, o_sums + k, b_v * b_g, H, BH)
        b_gain = norm_row(p_gain, scene, k, NUM_BLOCKS, 1.0, H, BH)
        b_g *= b_gain
        b_y = mean(b_g * b_n, H) * b_v + mean(b_v * b_g, H) * b_n
        b_y += b_tilt * along(b_g, b_n, b_r, m_h, k > 0, H)
        tl.store(p_y + (start * H + k * layer) + o_t, -b_r * b_y, mask=m_t & (k > 0))
        b_v *= b_gain
        tl.store(p_v + (start * H + k * layer) + o_t, b_v, mask=m_t)
        b_v_a = dot(b_v, matrix(p_w1, block, H, H, BH, BH), DTYPE)
        b_a = tl.load(p_a + (start * H + k * layer) + o_t, mask=m_t, other=0.0).to(tl.float32)
        b_g_s = tl.load(p_g_s + (start * H + k * layer) + o_t, mask=m_t, other=0.0).to(tl.float32)
        tl.store(
            p_y_a + (start * H + k * layer) + o_t, b_v_a * b_g_s * silu_bend(b_a, DTYPE), mask=m_t
        )
        b_v_a *= silu_slope(b_a, DTYPE)
        tl.store(p_v_s + (start * H + k * layer) + o_t, b_v_a, mask=m_t)
        b_v += dot(b_v_a, matrix(p_w2, block, H, H, BH, BH), DTYPE)
    tl.store(p_v + (start * H + NUM_BLOCKS * layer) + o_t, b_v, mask=m_t)


@triton.jit
@no_type_check
def mip_mlp_bwd_kernel(
    p_w1,
    p_w2,
    p_gain,
    p_w_out,
    p_h,
    p_a,
    p_g_raw,
    p_v,
    p_y_a,
    p_y,
    p_sums,
    num_points,
    H: tl.constexpr,
    D: tl.constexpr,
    NUM_BLOCKS: tl.constexpr,
    BH: tl.constexpr,
    BP: tl.constexpr,
):
    DTYPE: tl.constexpr = p_h.dtype.element_ty
    scene = tl.program_id(1).to(tl.int64)
    layer = tl.num_programs(1).to(tl.int64) * num_points * H
    o_p, o_h = tl.arange(0, BP), tl.arange(0, BH)
    first = tl.program_id(0) * BP
    m_p = first + o_p < num_points
    m_h = (o_h < H)[None, :]
    m_t = m_p[:, None] & m_h
    # Wide offsets are a tile's, narrow ones those within it: wide ones of each number would take
    # half of the registers.
    start = scene * num_points + first
    o_t = o_p[:, None] * H + o_h[None, :]
    o_sums = (scene * tl.num_programs(0) + tl.program_id(0)) * (4 * NUM_BLOCKS + 2 + D)
    b_h = tl.load(p_h + (start * H + NUM_BLOCKS * layer) + o_t, mask=m_t, other=0.0).to(tl.float32)
    b_s, b_y = silu(b_h, DTYPE), tl.zeros((BP, BH), tl.float32)
    for d in range(D):
        b_q = tl.load(p_g_raw + start * D + o_p * D + d, mask=m_p, other=0.0)[:, None]
        b_y += b_q * column(p_w_out, scene, d, H, D, BH)
        _store_sum(p_sums, o_sums + 4 * NUM_BLOCKS + 1 + d, b_q * b_s, H, BH)
    b_v = tl.load(p_v + (start * H + NUM_BLOCKS * layer) + o_t, mask=m_t, other=0.0)
    b_y *= silu_slope(b_h, DTYPE)
    b_y += column(p_w_out, scene, 0, H, D, BH) * silu_bend(b_h, DTYPE) * b_v
    # The slope is the first output's: this goes to the first column of w_out.
    _store_sum(p_sums, o_sums + 4 * NUM_BLOCKS + 1 + D, b_v * silu_slope(b_h, DTYPE), H, BH)
    for i in range(NUM_BLOCKS):
        k = NUM_BLOCKS - 1 - i
        block = scene * NUM_BLOCKS + k
        tl.store(p_y + (start * H + (k + 1) * layer) + o_t, b_y, mask=m_t)
        _store_sum(p_sums, o_sums + 4 * k, b_y, H, BH)
        b_y_a = dot(b_y, tl.trans(matrix(p_w2, block, H, H, BH, BH)), DTYPE)
        b_a = tl.load(p_a + (start * H + k * layer) + o_t, mask=m_t, other=0.0).to(tl.float32)
        b_y_a = b_y_a * silu_slope(b_a, DTYPE) + tl.load(
            p_y_a + (start * H + k * layer) + o_t, mask=m_t, other=0.0
        )
        tl.store(p_y_a + (start * H + k * layer) + o_t, b_y_a, mask=m_t)
        _store_sum(p_sums, o_sums + 4 * k + 1, b_y_a, H, BH)
        b_y += dot(b_y_a, tl.trans(matrix(p_w1, block, H, H, BH, BH)), DTYPE)
        b_h = tl.load(p_h + (start * H + k * layer) + o_t, mask=m_t, other=0.0).to(tl.float32)
        b_n, b_r = normed(b_h, m_h, k > 0, H)
        _store_sum(p_sums, o_sums + 4 * k + 2, b_y * b_n, H, BH)
        _store_sum(p_sums, o_sums + 4 * k + 3, b_y, H, BH)
        b_y *= norm_row(p_gain, scene, k, NUM_BLOCKS, 1.0, H, BH)
        b_y = along(b_y, b_n, b_r, m_h, k > 0, H)
        b_y += tl.load(p_y + (start * H + k * layer) + o_t, mask=m_t & (k > 0), other=0.0)
    b_y *= silu_slope(tl.load(p_h + start * H + o_t, mask=m_t, other=0.0).to(tl.float32), DTYPE)
    b_y += tl.load(p_y + start * H + o_t, mask=m_t, other=0.0)
    tl.store(p_y + start * H + o_t, b_y, mask=m_t)
    _store_sum(p_sums, o_sums + 4 * NUM_BLOCKS, b_y, H, BH)
