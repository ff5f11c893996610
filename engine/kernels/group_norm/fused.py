"""`engine.kernels.group_norm` in Triton: sums over a picture's pixels, then a pass that uses them.

N pictures, P pixels, C channels, G groups of D channels; x, y and their cotangents lie in memory as
N P C. The mathematics is in README.md. A compiler cannot look into the two ops; it is told that
their tensors have channels last.
"""

# pyright: reportArgumentType=false, reportIndexIssue=false, reportOptionalMemberAccess=false

from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor
from torch.library import custom_op

_TILE = 4096
"""Numbers that a program holds at a time, ..."""
_TILES = 8
"""... and how often. The order of a picture's sums depends on its shape and on these alone."""
_WARPS = 8
_SHARES = 1024
"""Shares of sums that are read at a time."""
_TAGS = (torch.Tag.needs_exact_strides,)


def group_norm(
    x: Float[Tensor, "N C *sizes"],
    weight: Float[Tensor, "C"],
    bias: Float[Tensor, "C"],
    offset: Float[Tensor, "C"] | None = None,
    *,
    num_groups: int,
    eps: float,
    has_silu: bool,
) -> Float[Tensor, "N C *sizes"]:
    """See the package."""
    assert x.shape[1] % num_groups == 0
    picture = x if x.dim() == 4 else x.flatten(2).unsqueeze(-1)
    y, _ = _forward(_channels_last(picture), weight, bias, offset, num_groups, eps, has_silu)
    return y if x.dim() == 4 else y.view(x.shape)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


@custom_op("dreambatch::group_norm", mutates_args=(), tags=_TAGS)
def _forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    offset: Tensor | None,
    num_groups: int,
    eps: float,
    has_silu: bool,
) -> tuple[Tensor, Tensor]:
    """y, and each group's two moments about its pivot."""
    moments = _means(group_norm_fwd_sums_kernel, x, num_groups, offset)
    y = torch.empty_like(x, memory_format=torch.channels_last)
    given = (y, offset, moments, weight, bias)
    _launch(group_norm_fwd_kernel, x, num_groups, *given, eps=eps, HAS_SILU=has_silu)
    return y, moments


@custom_op("dreambatch::group_norm_backward", mutates_args=(), tags=_TAGS)
def _backward(
    g: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    offset: Tensor | None,
    moments: Tensor,
    num_groups: int,
    eps: float,
    has_silu: bool,
) -> Tensor:
    """The cotangent of x, for g of y."""
    given = (offset, moments, weight, bias, g)
    flags = {"eps": eps, "HAS_SILU": has_silu}
    slopes = _means(group_norm_bwd_sums_kernel, x, num_groups, *given, **flags)
    g_x = torch.empty_like(x, memory_format=torch.channels_last)
    _launch(group_norm_bwd_kernel, x, num_groups, g_x, *given, slopes, **flags)
    return g_x


@_forward.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    offset: Tensor | None,
    num_groups: int,
    eps: float,
    has_silu: bool,
) -> tuple[Tensor, Tensor]:
    moments = torch.empty(x.shape[0], num_groups, 2, device=x.device)
    return torch.empty_like(x, memory_format=torch.channels_last), moments


@_backward.register_fake
def _(g: Tensor, x: Tensor, *others: Any) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.num_groups, ctx.eps, ctx.has_silu = inputs
    ctx.save_for_backward(*tensors, output[1])


def _differentiate(ctx: Any, g: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    numbers = (ctx.num_groups, ctx.eps, ctx.has_silu)
    return _backward(_channels_last(g), *ctx.saved_tensors, *numbers), *[None] * 6


_forward.register_autograd(_differentiate, setup_context=_keep)


def _means(
    kernel: Any, x: Tensor, num_groups: int, *given: Tensor | None, **flags: Any
) -> Float[Tensor, "N G 2"]:
    """Means of two numbers over each group of a picture: programs' shares, summed in order."""
    num_pictures, num_channels, height, width = x.shape
    depth = num_channels // num_groups
    shares = torch.empty(num_pictures, _num_programs(x), 2, num_channels, device=x.device)
    _launch(kernel, x, num_groups, shares, *given, **flags)
    means = torch.empty(num_pictures, num_groups, 2, device=x.device)
    if x.numel() > 0:
        side = triton.next_power_of_2(depth)
        group_norm_means_kernel[num_groups, num_pictures](
            shares,
            means,
            shares.shape[1],
            height * width * depth,
            C=num_channels,
            D=depth,
            BR=max(1, _SHARES // side),
            BD=side,
        )
    return means


def _tile(num_channels: int) -> tuple[int, int]:
    """Pixels and channels of a tile; these are a power of two that divides all."""
    channels = min(num_channels & -num_channels, _TILE)
    return _TILE // channels, channels


def _num_programs(x: Tensor) -> int:
    """Programs that share a picture's pixels."""
    return int(triton.cdiv(x.shape[2] * x.shape[3], _tile(x.shape[1])[0] * _TILES))


def _launch(kernel: Any, x: Tensor, num_groups: int, *given: Tensor | None, **flags: Any) -> None:
    """Some tiles a program, of every picture."""
    num_pictures, num_channels, height, width = x.shape
    if x.numel() == 0:
        return
    assert x.is_contiguous(memory_format=torch.channels_last)
    pixels, channels = _tile(num_channels)
    kernel[_num_programs(x), num_channels // channels, num_pictures](
        x,
        *given,
        height * width,
        C=num_channels,
        D=num_channels // num_groups,
        BP=pixels,
        BC=channels,
        TILES=_TILES,
        num_warps=_WARPS,
        **flags,
    )


@triton.jit
@no_type_check
def _pivoted(p_x, p_offset, o_c, D: tl.constexpr):
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
def _statistics(p_moments, b_shift, picture, o_c, eps, C: tl.constexpr, D: tl.constexpr):
    """What to add to x, and to multiply that by, to norm it."""
    p_moments += (picture * (C // D) + o_c // D) * 2
    b_mean = tl.load(p_moments)
    b_var = tl.load(p_moments + 1) - b_mean * b_mean
    return b_shift - b_mean, tl.rsqrt(tl.maximum(b_var, 0.0) + eps)


@triton.jit
@no_type_check
def _slope(b_norm, b_g, b_w, b_b, HAS_SILU: tl.constexpr):
    """Cotangent of norm x weight + bias."""
    b_slope = b_g
    if HAS_SILU:
        b_z = b_norm * b_w + b_b
        b_s = tl.sigmoid(b_z)
        b_slope *= b_s * (1.0 + b_z * (1.0 - b_s))
    return b_slope


@triton.jit
@no_type_check
def _store_share(p_shares, b_first, b_second, picture, o_c, C: tl.constexpr):
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
    b_shift = _pivoted(p_x, p_offset, o_c, D)
    b_first = tl.zeros((BP, BC), tl.float32)
    b_second = tl.zeros((BP, BC), tl.float32)
    for k in range(TILES):
        o_p = (tl.program_id(0) * TILES + k) * BP + tl.arange(0, BP)
        m = (o_p < num_pixels)[:, None]
        b_x = tl.load(p_x + o_p[:, None] * C + o_c[None, :], mask=m, other=0.0).to(tl.float32)
        b_x = tl.where(m, b_x + b_shift[None, :], 0.0)
        b_first += b_x
        b_second += b_x * b_x
    _store_share(p_shares, b_first, b_second, picture, o_c, C)


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
    b_shift = _pivoted(p_x, p_offset, o_c, D)
    b_shift, b_scale = _statistics(p_moments, b_shift, picture, o_c, eps, C, D)
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
    b_shift = _pivoted(p_x, p_offset, o_c, D)
    b_shift, b_scale = _statistics(p_moments, b_shift, picture, o_c, eps, C, D)
    b_w, b_b = tl.load(p_w + o_c).to(tl.float32), tl.load(p_b + o_c).to(tl.float32)
    b_first = tl.zeros((BP, BC), tl.float32)
    b_second = tl.zeros((BP, BC), tl.float32)
    for k in range(TILES):
        o_p = (tl.program_id(0) * TILES + k) * BP + tl.arange(0, BP)
        m = (o_p < num_pixels)[:, None]
        o = o_p[:, None] * C + o_c[None, :]
        b_x = tl.load(p_x + o, mask=m, other=0.0).to(tl.float32)
        b_g = tl.load(p_g + o, mask=m, other=0.0).to(tl.float32)
        b_norm = (b_x + b_shift[None, :]) * b_scale[None, :]
        b_slope = _slope(b_norm, b_g, b_w[None, :], b_b[None, :], HAS_SILU)
        b_first += b_slope
        b_second += b_slope * b_norm
    # The weight is the same for all pixels.
    _store_share(p_shares, b_first * b_w[None, :], b_second * b_w[None, :], picture, o_c, C)


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
    b_shift = _pivoted(p_x, p_offset, o_c, D)
    b_shift, b_scale = _statistics(p_moments, b_shift, picture, o_c, eps, C, D)
    b_w, b_b = tl.load(p_w + o_c).to(tl.float32), tl.load(p_b + o_c).to(tl.float32)
    p_slopes += (picture * (C // D) + o_c // D) * 2
    b_mean, b_along = tl.load(p_slopes), tl.load(p_slopes + 1)
    for k in range(TILES):
        o_p = (program * TILES + k) * BP + tl.arange(0, BP)
        m = (o_p < num_pixels)[:, None]
        o = o_p[:, None] * C + o_c[None, :]
        b_x = tl.load(p_x + o, mask=m, other=0.0).to(tl.float32)
        b_g = tl.load(p_g + o, mask=m, other=0.0).to(tl.float32)
        b_norm = (b_x + b_shift[None, :]) * b_scale[None, :]
        b_slope = _slope(b_norm, b_g, b_w[None, :], b_b[None, :], HAS_SILU) * b_w[None, :]
        b_g_x = b_slope - b_mean[None, :] - b_norm * b_along[None, :]
        tl.store(p_g_x + o, b_g_x * b_scale[None, :], mask=m)
