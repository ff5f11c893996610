"""What all passes know of a group, and how programs' shares of sums become means."""

# pyright: reportArgumentType=false, reportIndexIssue=false, reportOptionalMemberAccess=false

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def pivoted(p_x, p_offset, o_c, D: tl.constexpr):
    """What to add to x: its channel's offset, less the group's pivot, which is the first number
    that it has in the picture. Sums about it lose nothing where the mean is far from 0."""
    o_first = o_c // D * D
    b_shift = -tl.load(p_x + o_first).to(tl.float32)
    if p_offset is not None:
        b_shift += tl.load(p_offset + o_c).to(tl.float32)
        b_shift -= tl.load(p_offset + o_first).to(tl.float32)
    return b_shift


@triton.jit
@no_type_check
def statistics(p_moments, b_shift, picture, o_c, eps, C: tl.constexpr, D: tl.constexpr):
    """What to add to x, and to multiply that by, to norm it."""
    p_moments += (picture * (C // D) + o_c // D) * 2
    b_mean = tl.load(p_moments)
    b_var = tl.load(p_moments + 1) - b_mean * b_mean
    return b_shift - b_mean, tl.rsqrt(tl.maximum(b_var, 0.0) + eps)


@triton.jit
@no_type_check
def store_share(p_shares, b_first, b_second, picture, o_c, C: tl.constexpr):
    """Sums over a program's pixels, channel by channel."""
    p_share = p_shares + (picture * tl.num_programs(0) + tl.program_id(0)) * 2 * C
    tl.store(p_share + o_c, tl.sum(b_first, 0))
    tl.store(p_share + C + o_c, tl.sum(b_second, 0))


@triton.jit
@no_type_check
def group_norm_means_kernel(
    p_shares,
    p_means,
    num_shares,
    count,
    C: tl.constexpr,
    D: tl.constexpr,
    BR: tl.constexpr,
    BD: tl.constexpr,
):
    group = tl.program_id(0)
    picture = tl.program_id(1).to(tl.int64)
    p_shares += picture * num_shares * 2 * C + group * D
    o_r, o_d = tl.arange(0, BR), tl.arange(0, BD)
    b_first = tl.zeros((BR, BD), tl.float32)
    b_second = tl.zeros((BR, BD), tl.float32)
    for start in range(0, num_shares, BR):
        m = (start + o_r < num_shares)[:, None] & (o_d < D)[None, :]
        o = (start + o_r)[:, None] * 2 * C + o_d[None, :]
        b_first += tl.load(p_shares + o, mask=m, other=0.0)
        b_second += tl.load(p_shares + C + o, mask=m, other=0.0)
    p_means += (picture * tl.num_programs(0) + group) * 2
    tl.store(p_means, tl.sum(tl.sum(b_first, 1), 0) / count)
    tl.store(p_means + 1, tl.sum(tl.sum(b_second, 1), 0) / count)
