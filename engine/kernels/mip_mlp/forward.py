"""The outputs of a tile of points, and their slope along x: through the network and back again."""

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
    norm_row,
    normed,
    row,
    silu,
    silu_slope,
)
from engine.kernels.tiles import dot


@triton.jit
@no_type_check
def mip_mlp_fwd_kernel(
    p_x,
    p_kept,
    p_w_in,
    p_b_in,
    p_w1,
    p_b1,
    p_w2,
    p_b2,
    p_gain,
    p_shift,
    p_w_out,
    p_b_out,
    p_raw,
    p_slope,
    p_h,
    p_a,
    p_g_s,
    p_g_n,
    p_g_h,
    num_points,
    L: tl.constexpr,
    H: tl.constexpr,
    D: tl.constexpr,
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
    b_phi = encoding(p_x, p_kept, scene, start, o_p, m_p, L, BF)[0]
    b_w = matrix(p_w_in, scene, 6 * L, H, BF, BH)
    b_h = dot(b_phi, b_w, DTYPE) + row(p_b_in, scene, H, BH)
    tl.store(p_h + start * H + o_t, b_h, mask=m_t)
    b_h = silu(b_h, DTYPE)
    for k in range(NUM_BLOCKS):
        block = scene * NUM_BLOCKS + k
        b_h = normed(b_h, m_h, k > 0, H)[0] * norm_row(p_gain, scene, k, NUM_BLOCKS, 1.0, H, BH)
        b_h += norm_row(p_shift, scene, k, NUM_BLOCKS, 0.0, H, BH)
        b_a = dot(b_h, matrix(p_w1, block, H, H, BH, BH), DTYPE) + row(p_b1, block, H, BH)
        tl.store(p_a + (start * H + k * layer) + o_t, b_a, mask=m_t)
        b_h += dot(silu(b_a, DTYPE), matrix(p_w2, block, H, H, BH, BH), DTYPE) + row(
            p_b2, block, H, BH
        )
        tl.store(p_h + (start * H + (k + 1) * layer) + o_t, b_h, mask=m_t)
    b_s = silu(b_h, DTYPE)
    for d in range(D):
        b_raw = tl.sum(b_s * column(p_w_out, scene, d, H, D, BH), 1)
        b_raw += tl.load(p_b_out + scene * D + d)
        tl.store(p_raw + start * D + o_p * D + d, b_raw, mask=m_p)
    # The first output's gradient to what each layer takes; what was stored is read by others.
    tl.debug_barrier()
    b_g = column(p_w_out, scene, 0, H, D, BH) * silu_slope(b_h, DTYPE)
    for i in range(NUM_BLOCKS):
        k = NUM_BLOCKS - 1 - i
        block = scene * NUM_BLOCKS + k
        tl.store(p_g_h + (start * H + k * layer) + o_t, b_g, mask=m_t)
        b_g_s = dot(b_g, tl.trans(matrix(p_w2, block, H, H, BH, BH)), DTYPE)
        tl.store(p_g_s + (start * H + k * layer) + o_t, b_g_s, mask=m_t)
        b_a = tl.load(p_a + (start * H + k * layer) + o_t, mask=m_t, other=0.0).to(tl.float32)
        b_g_a = b_g_s * silu_slope(b_a, DTYPE)
        b_g += dot(b_g_a, tl.trans(matrix(p_w1, block, H, H, BH, BH)), DTYPE)
        tl.store(p_g_n + (start * H + k * layer) + o_t, b_g, mask=m_t)
        b_h = tl.load(p_h + (start * H + k * layer) + o_t, mask=m_t, other=0.0).to(tl.float32)
        b_n, b_r = normed(b_h, m_h, k > 0, H)
        b_g *= norm_row(p_gain, scene, k, NUM_BLOCKS, 1.0, H, BH)
        b_g = along(b_g, b_n, b_r, m_h, k > 0, H)
    b_g *= silu_slope(tl.load(p_h + start * H + o_t, mask=m_t, other=0.0).to(tl.float32), DTYPE)
    b_w = tl.trans(matrix(p_w_in, scene, 6 * L, H, BF, BH))
    # Computed again: cheaper than to have kept it all along.
    b_slope = encoding(p_x, p_kept, scene, start, o_p, m_p, L, BF)[1]
    b_g_x = dot(b_g, b_w, DTYPE) * b_slope
    o_f = tl.arange(0, BF)
    for c in tl.static_range(3):
        b_c = tl.sum(tl.where((o_f % 3 == c)[None, :], b_g_x, 0.0), 1)
        tl.store(p_slope + start * 3 + o_p * 3 + c, b_c, mask=m_p)
