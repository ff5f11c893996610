"""`engine.kernels.group_norm` in Triton: sums over a picture's pixels, then a pass that uses them.

N pictures, P pixels, C channels, G groups of D channels; x, y and their cotangents lie in memory as
N P C. The mathematics is in README.md. A compiler cannot look into the two ops; it is told that
their tensors have channels last.
"""

from typing import Any

import torch
import triton
from jaxtyping import Float
from torch import Tensor
from torch.library import custom_op

from engine.kernels.group_norm.backward import group_norm_bwd_kernel, group_norm_bwd_sums_kernel
from engine.kernels.group_norm.forward import group_norm_fwd_kernel, group_norm_fwd_sums_kernel
from engine.kernels.group_norm.sums import group_norm_means_kernel

_TILE = 4096
"""Numbers that a program holds at a time."""
_TILES = 8
"""Tiles of a program. The order of a picture's sums depends on its shape and on these two alone."""
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
