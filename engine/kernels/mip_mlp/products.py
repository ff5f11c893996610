"""Gradients of weights: sums over points of what a layer takes times the gradient to what it gives.

Each is two sums, of the outputs' part and of the slope's. A program has its share of a scene's
points; the shares are summed afterwards, in a fixed order. w_out has few columns, whose sums
come with those of biases from `mip_mlp_bwd_kernel`.
"""

# pyright: reportArgumentType=false, reportIndexIssue=false, reportOptionalMemberAccess=false
# pyright: reportAttributeAccessIssue=false

from typing import no_type_check

import triton
import triton.language as tl

from engine.kernels.mip_mlp.tiles import encoding, norm_row, normed, silu, silu_slope
from engine.kernels.tiles import dot


@triton.jit
@no_type_check
def mip_mlp_blocks_kernel(
    p_gain,
    p_shift,
    p_h,
    p_a,
    p_g_s,
    p_g_h,
    p_v,
    p_v_s,
    p_y_a,
    p_y,
    p_shares,
    num_points,
    H: tl.constexpr,
    NUM_BLOCKS: tl.constexpr,
    IS_SECOND: tl.constexpr,
    BH: tl.constexpr,
    BP: tl.constexpr,
):
    """w1, or with IS_SECOND w2, of a block."""
    DTYPE: tl.constexpr = p_h.dtype.element_ty
    scene, k = tl.program_id(2).to(tl.int64), tl.program_id(1)
    layer = tl.num_programs(2).to(tl.int64) * num_points * H
    o_p, o_h = tl.arange(0, BP), tl.arange(0, BH)
    o_t = o_p[:, None] * H + o_h[None, :]
    m_h = (o_h < H)[None, :]
    b_gain = norm_row(p_gain, scene, k, NUM_BLOCKS, 1.0, H, BH)
    b_shift = norm_row(p_shift, scene, k, NUM_BLOCKS, 0.0, H, BH)
    b_sum = tl.zeros((BH, BH), tl.float32)
    for tile in range(tl.program_id(0), tl.cdiv(num_points, BP), tl.num_programs(0)):
        m_t = (tile * BP + o_p < num_points)[:, None] & m_h
        start = k * layer + (scene * num_points + tile * BP) * H
        b_a = tl.load(p_a + start + o_t, mask=m_t, other=0.0).to(tl.float32)
        if IS_SECOND:
            b_v = tl.load(p_v_s + start + o_t, mask=m_t, other=0.0)
            b_g = tl.load(p_g_h + start + o_t, mask=m_t, other=0.0)
            b_s = silu(b_a, DTYPE)
            b_y = tl.load(p_y + (start + layer) + o_t, mask=m_t, other=0.0)
        else:
            b_v = tl.load(p_v + start + o_t, mask=m_t, other=0.0)
            b_g = tl.load(p_g_s + start + o_t, mask=m_t, other=0.0) * silu_slope(b_a, DTYPE)
            b_h = tl.load(p_h + start + o_t, mask=m_t, other=0.0).to(tl.float32)
            b_h = tl.where(k > 0, b_h, silu(b_h, DTYPE))
            b_s = normed(b_h, m_h, k > 0, H)[0] * b_gain + b_shift
            b_y = tl.load(p_y_a + start + o_t, mask=m_t, other=0.0)
        b_sum += dot(tl.trans(b_v), b_g, DTYPE)
        b_sum += dot(tl.trans(b_s), b_y, DTYPE)
    share = (scene * NUM_BLOCKS + k) * tl.num_programs(0) + tl.program_id(0)
    o_w = share * H * H + o_h[:, None] * H + o_h[None, :]
    tl.store(p_shares + o_w, b_sum, mask=(o_h < H)[:, None] & m_h)


@triton.jit
@no_type_check
def mip_mlp_in_kernel(
    p_x,
    p_kept,
    p_h,
    p_g_n,
    p_u,
    p_y,
    p_shares,
    num_points,
    L: tl.constexpr,
    H: tl.constexpr,
    BF: tl.constexpr,
    BH: tl.constexpr,
    BP: tl.constexpr,
):
    """w_in."""
    DTYPE: tl.constexpr = p_h.dtype.element_ty
    scene = tl.program_id(1).to(tl.int64)
    o_f, o_h, o_p = tl.arange(0, BF), tl.arange(0, BH), tl.arange(0, BP)
    o_t = o_p[:, None] * H + o_h[None, :]
    b_sum = tl.zeros((BF, BH), tl.float32)
    for tile in range(tl.program_id(0), tl.cdiv(num_points, BP), tl.num_programs(0)):
        m_p = tile * BP + o_p < num_points
        start = scene * num_points + tile * BP
        m_t = m_p[:, None] & (o_h < H)[None, :]
        b_phi, b_slope = encoding(p_x, p_kept, scene, start, o_p, m_p, L, BF)
        m_f = m_p[:, None] & (o_f < 6 * L)[None, :]
        b_u = tl.load(p_u + start * 3 + o_p[:, None] * 3 + (o_f % 3)[None, :], mask=m_f, other=0.0)
        b_h = tl.load(p_h + start * H + o_t, mask=m_t, other=0.0).to(tl.float32)
        b_g = tl.load(p_g_n + start * H + o_t, mask=m_t, other=0.0) * silu_slope(b_h, DTYPE)
        b_sum += dot(tl.trans(b_u * b_slope), b_g, DTYPE)
        b_y = tl.load(p_y + start * H + o_t, mask=m_t, other=0.0)
        b_sum += dot(tl.trans(b_phi), b_y, DTYPE)
    share = scene * tl.num_programs(0) + tl.program_id(0)
    o_w = share * 6 * L * H + o_f[:, None] * H + o_h[None, :]
    tl.store(p_shares + o_w, b_sum, mask=(o_f < 6 * L)[:, None] & (o_h < H)[None, :])
