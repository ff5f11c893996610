"""What happens to a tile of points on the chip, between one product and the next.

A tile has BP points by BH units, of which H are real and the others 0.
"""

# pyright: reportArgumentType=false, reportIndexIssue=false, reportOptionalMemberAccess=false
# pyright: reportAttributeAccessIssue=false

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def matrix(
    p_w, index, ROWS: tl.constexpr, COLUMNS: tl.constexpr, BR: tl.constexpr, BC: tl.constexpr
):
    """A matrix of a stack, filled up by zeros."""
    o_row, o_column = tl.arange(0, BR), tl.arange(0, BC)
    m = (o_row < ROWS)[:, None] & (o_column < COLUMNS)[None, :]
    o = index * ROWS * COLUMNS + o_row[:, None] * COLUMNS + o_column[None, :]
    return tl.load(p_w + o, mask=m, other=0.0)


@triton.jit
@no_type_check
def row(p_b, index, LENGTH: tl.constexpr, BL: tl.constexpr):
    """A row of a stack, to be added to each point's."""
    o = tl.arange(0, BL)
    return tl.load(p_b + index * LENGTH + o, mask=o < LENGTH, other=0.0)[None, :]


@triton.jit
@no_type_check
def column(p_w, index, which, ROWS: tl.constexpr, COLUMNS: tl.constexpr, BR: tl.constexpr):
    """A column of a matrix of a stack, laid down, to meet each point's row.

    For matrices of few columns, whose products are sums of these: see README.md.
    """
    o = tl.arange(0, BR)
    p_column = p_w + index * ROWS * COLUMNS + which
    return tl.load(p_column + o * COLUMNS, mask=o < ROWS, other=0.0)[None, :]


@triton.jit
@no_type_check
def sigmoid(b_a, DTYPE: tl.constexpr):
    """1 / (1 + exp(-a)); where half precision is kept, to the 11 bits of the chip's own tanh."""
    if DTYPE.is_fp32():
        return tl.sigmoid(b_a)
    b_t = tl.inline_asm_elementwise(
        "tanh.approx.f32 $0, $1;", "=r,r", [0.5 * b_a], dtype=tl.float32, is_pure=True, pack=1
    )
    return 0.5 + 0.5 * b_t


@triton.jit
@no_type_check
def silu(b_a, DTYPE: tl.constexpr):
    """a s with s = sigmoid(a)."""
    return b_a * sigmoid(b_a, DTYPE)


@triton.jit
@no_type_check
def silu_slope(b_a, DTYPE: tl.constexpr):
    """s (1 + a (1 - s))."""
    b_s = sigmoid(b_a, DTYPE)
    return b_s + b_a * (b_s * (1.0 - b_s))


@triton.jit
@no_type_check
def silu_bend(b_a, DTYPE: tl.constexpr):
    """The slope's slope, s (1 - s) (2 + a (1 - 2 s))."""
    b_s = sigmoid(b_a, DTYPE)
    return b_s * (1.0 - b_s) * (2.0 + b_a * (1.0 - 2.0 * b_s))


@triton.jit
@no_type_check
def mean(b_t, H: tl.constexpr):
    """Of each point."""
    return tl.sum(b_t, 1)[:, None] * (1.0 / H)


@triton.jit
@no_type_check
def norm_row(
    p_b,
    scene,
    k,
    NUM_BLOCKS: tl.constexpr,
    NOTHING: tl.constexpr,
    LENGTH: tl.constexpr,
    BL: tl.constexpr,
):
    """Gain or shift of the norm before block k. The first has none: what changes nothing."""
    o = tl.arange(0, BL)
    p_row = p_b + (scene * (NUM_BLOCKS - 1) + k - 1) * LENGTH
    return tl.load(p_row + o, mask=(o < LENGTH) & (k > 0), other=NOTHING)[None, :]


@triton.jit
@no_type_check
def normed(b_h, m_h, is_there, H: tl.constexpr):
    """README's m = (h - mean) r and r = 1 / sqrt(variance + 1e-5) of each point; h and 1 without a
    norm."""
    b_c = tl.where(m_h, b_h - tl.where(is_there, mean(b_h, H), 0.0), 0.0)
    b_r = tl.where(is_there, tl.rsqrt(mean(b_c * b_c, H) + 1e-5), 1.0)
    return b_c * b_r, b_r


@triton.jit
@no_type_check
def along(b_v, b_n, b_r, m_h, is_there, H: tl.constexpr):
    """J v, where J = r (1 - mean - n mean n) is the symmetric Jacobian of `normed`."""
    b_mean = tl.where(is_there, mean(b_v, H), 0.0)
    b_tilt = tl.where(is_there, mean(b_v * b_n, H), 0.0)
    return tl.where(m_h, b_r * (b_v - b_mean - b_n * b_tilt), 0.0)


@triton.jit
@no_type_check
def sine(b_t):
    """sin(2 pi t), to some 1e-7 and t's own rounding; the library's has a branch for large ones."""
    b_t -= tl.floor(b_t + 0.5)
    b_t = tl.where(tl.abs(b_t) > 0.25, tl.where(b_t > 0.0, 0.5, -0.5) - b_t, b_t)
    b_a = 6.283185307179586 * b_t
    b_s = b_a * b_a
    b_p = 2.7557319e-6 - 2.5052108e-8 * b_s
    b_p = -1.9841270e-4 + b_p * b_s
    b_p = 8.3333333e-3 + b_p * b_s
    return b_a + b_a * b_s * (-0.16666667 + b_p * b_s)


@triton.jit
@no_type_check
def encoding(p_x, p_kept, scene, start, o_p, m_p, L: tl.constexpr, BF: tl.constexpr):
    """Features of points, and each one's slope along its own coordinate; see `reference.encode`."""
    o_f = tl.arange(0, BF)
    level = o_f // 3 % L
    m_f = o_f < 6 * L
    m = m_p[:, None] & m_f[None, :]
    b_x = tl.load(p_x + start * 3 + o_p[:, None] * 3 + (o_f % 3)[None, :], mask=m, other=0.0)
    b_kept = tl.load(p_kept + scene * L + level, mask=m_f, other=0.0)[None, :]
    b_scale = tl.exp2(level.to(tl.float32))[None, :]
    b_turns = b_x * b_scale * 0.15915494309189535
    b_sin, b_cos = sine(b_turns), sine(b_turns + 0.25)
    is_cos = (o_f >= 3 * L)[None, :]
    b_phi = b_kept * tl.where(is_cos, b_cos, b_sin)
    return b_phi, b_kept * b_scale * tl.where(is_cos, -b_sin, b_cos)
