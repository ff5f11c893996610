"""Sums of x and x^2, then y. A program has some tiles of a picture's pixels."""

# pyright: reportArgumentType=false, reportIndexIssue=false, reportOptionalMemberAccess=false

from typing import no_type_check

import triton
import triton.language as tl

from engine.kernels.group_norm.sums import pivoted, statistics, store_share


@triton.jit
@no_type_check
def group_norm_fwd_sums_kernel(
    p_x,
    p_shares,
    p_offset,
    num_pixels,
    C: tl.constexpr,
    D: tl.constexpr,
    BP: tl.constexpr,
    BC: tl.constexpr,
    TILES: tl.constexpr,
):
    picture = tl.program_id(2).to(tl.int64)
    o_c = tl.program_id(1) * BC + tl.arange(0, BC)
    p_x += picture * num_pixels * C
    b_shift = pivoted(p_x, p_offset, o_c, D)
    b_first = tl.zeros((BP, BC), tl.float32)
    b_second = tl.zeros((BP, BC), tl.float32)
    for k in range(TILES):
        o_p = (tl.program_id(0) * TILES + k) * BP + tl.arange(0, BP)
        m = (o_p < num_pixels)[:, None]
        b_x = tl.load(p_x + o_p[:, None] * C + o_c[None, :], mask=m, other=0.0).to(tl.float32)
        b_x = tl.where(m, b_x + b_shift[None, :], 0.0)
        b_first += b_x
        b_second += b_x * b_x
    store_share(p_shares, b_first, b_second, picture, o_c, C)


@triton.jit
@no_type_check
def group_norm_fwd_kernel(
    p_x,
    p_y,
    p_offset,
    p_moments,
    p_w,
    p_b,
    num_pixels,
    eps,
    C: tl.constexpr,
    D: tl.constexpr,
    BP: tl.constexpr,
    BC: tl.constexpr,
    TILES: tl.constexpr,
    HAS_SILU: tl.constexpr,
):
    # What the sums' pass has read last is still in the cache.
    picture = (tl.num_programs(2) - 1 - tl.program_id(2)).to(tl.int64)
    program = tl.num_programs(0) - 1 - tl.program_id(0)
    o_c = tl.program_id(1) * BC + tl.arange(0, BC)
    p_x += picture * num_pixels * C
    p_y += picture * num_pixels * C
    b_shift = pivoted(p_x, p_offset, o_c, D)
    b_shift, b_scale = statistics(p_moments, b_shift, picture, o_c, eps, C, D)
    b_w, b_b = tl.load(p_w + o_c).to(tl.float32), tl.load(p_b + o_c).to(tl.float32)
    b_scale *= b_w
    for k in range(TILES):
        o_p = (program * TILES + k) * BP + tl.arange(0, BP)
        m = (o_p < num_pixels)[:, None]
        o = o_p[:, None] * C + o_c[None, :]
        b_x = tl.load(p_x + o, mask=m, other=0.0).to(tl.float32)
        b_z = (b_x + b_shift[None, :]) * b_scale[None, :] + b_b[None, :]
        if HAS_SILU:
            b_z *= tl.sigmoid(b_z)
        tl.store(p_y + o, b_z, mask=m)
