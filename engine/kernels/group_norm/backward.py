"""Sums of the cotangent of the normed x, and of their product, then the cotangent of x."""

# pyright: reportArgumentType=false, reportIndexIssue=false, reportOptionalMemberAccess=false

from typing import no_type_check

import triton
import triton.language as tl

from engine.kernels.group_norm.sums import pivoted, statistics, store_share


@triton.jit
@no_type_check
def _tile(p_x, p_g, o, m, b_shift, b_scale, b_w, b_b, HAS_SILU: tl.constexpr):
    """The normed x of a tile, and the cotangent of norm x weight + bias."""
    b_x = tl.load(p_x + o, mask=m, other=0.0).to(tl.float32)
    b_slope = tl.load(p_g + o, mask=m, other=0.0).to(tl.float32)
    b_norm = (b_x + b_shift[None, :]) * b_scale[None, :]
    if HAS_SILU:
        b_z = b_norm * b_w[None, :] + b_b[None, :]
        b_s = tl.sigmoid(b_z)
        b_slope *= b_s * (1.0 + b_z * (1.0 - b_s))
    return b_norm, b_slope


@triton.jit
@no_type_check
def group_norm_bwd_sums_kernel(
    p_x,
    p_shares,
    p_offset,
    p_moments,
    p_w,
    p_b,
    p_g,
    num_pixels,
    eps,
    C: tl.constexpr,
    D: tl.constexpr,
    BP: tl.constexpr,
    BC: tl.constexpr,
    TILES: tl.constexpr,
    HAS_SILU: tl.constexpr,
):
    picture = tl.program_id(2).to(tl.int64)
    o_c = tl.program_id(1) * BC + tl.arange(0, BC)
    p_x += picture * num_pixels * C
    p_g += picture * num_pixels * C
    b_shift = pivoted(p_x, p_offset, o_c, D)
    b_shift, b_scale = statistics(p_moments, b_shift, picture, o_c, eps, C, D)
    b_w, b_b = tl.load(p_w + o_c).to(tl.float32), tl.load(p_b + o_c).to(tl.float32)
    b_first = tl.zeros((BP, BC), tl.float32)
    b_second = tl.zeros((BP, BC), tl.float32)
    for k in range(TILES):
        o_p = (tl.program_id(0) * TILES + k) * BP + tl.arange(0, BP)
        m = (o_p < num_pixels)[:, None]
        o = o_p[:, None] * C + o_c[None, :]
        b_norm, b_slope = _tile(p_x, p_g, o, m, b_shift, b_scale, b_w, b_b, HAS_SILU)
        b_first += b_slope
        b_second += b_slope * b_norm
    # The weight is the same for all pixels.
    store_share(p_shares, b_first * b_w[None, :], b_second * b_w[None, :], picture, o_c, C)


@triton.jit
@no_type_check
def group_norm_bwd_kernel(
    p_x,
    p_g_x,
    p_offset,
    p_moments,
    p_w,
    p_b,
    p_g,
    p_slopes,
    num_pixels,
    eps,
    C: tl.constexpr,
    D: tl.constexpr,
    BP: tl.constexpr,
    BC: tl.constexpr,
    TILES: tl.constexpr,
    HAS_SILU: tl.constexpr,
):
    picture = (tl.num_programs(2) - 1 - tl.program_id(2)).to(tl.int64)
    program = tl.num_programs(0) - 1 - tl.program_id(0)
    o_c = tl.program_id(1) * BC + tl.arange(0, BC)
    p_x += picture * num_pixels * C
    p_g += picture * num_pixels * C
    p_g_x += picture * num_pixels * C
    b_shift = pivoted(p_x, p_offset, o_c, D)
    b_shift, b_scale = statistics(p_moments, b_shift, picture, o_c, eps, C, D)
    b_w, b_b = tl.load(p_w + o_c).to(tl.float32), tl.load(p_b + o_c).to(tl.float32)
    p_slopes += (picture * (C // D) + o_c // D) * 2
    b_mean, b_along = tl.load(p_slopes), tl.load(p_slopes + 1)
    for k in range(TILES):
        o_p = (program * TILES + k) * BP + tl.arange(0, BP)
        m = (o_p < num_pixels)[:, None]
        o = o_p[:, None] * C + o_c[None, :]
        b_norm, b_slope = _tile(p_x, p_g, o, m, b_shift, b_scale, b_w, b_b, HAS_SILU)
        b_slope *= b_w[None, :]
        b_g_x = b_slope - b_mean[None, :] - b_norm * b_along[None, :]
        tl.store(p_g_x + o, b_g_x * b_scale[None, :], mask=m)
