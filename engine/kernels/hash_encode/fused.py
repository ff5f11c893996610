"""The encoding by Triton's kernels, differentiable twice.

Everything is a derivative of one form, with features y, slopes J = dy/dx and cotangents g and G:

    B(T, x, g, G) = g . y(T, x) + G . J(T, x)

gather.py gives (y, J) = dB/d(g, G), scatter.py dB/dT, positions.py dB/dx; each is linear in T, and
in (g, G), so that the backward of one is made of the others. What no kernel computes, third
derivatives in x, raises.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from engine.kernels.hash_encode import launch
from engine.kernels.hash_encode.launch import Levels


def encode(
    tables: Tensor,
    x: Tensor,
    resolutions: Sequence[int],
    seen: Tensor | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """As `engine.kernels.hash_encode.encode`."""
    levels = launch.check(tables, x, resolutions, dtype)
    return _Encode.apply(tables, x, seen, levels, False)  # pyright: ignore[reportReturnType]


def encode_with_slopes(
    tables: Tensor,
    x: Tensor,
    resolutions: Sequence[int],
    seen: Tensor | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """As `engine.kernels.hash_encode.encode_with_slopes`."""
    levels = launch.check(tables, x, resolutions, dtype)
    return _Encode.apply(tables, x, seen, levels, True)  # pyright: ignore[reportReturnType]


def pull(slopes: Tensor, cotangent: Tensor) -> Tensor:
    """As `engine.kernels.hash_encode.pull`."""
    return _Pull.apply(slopes, cotangent)  # pyright: ignore[reportReturnType]


class _Encode(torch.autograd.Function):
    """(y, J) of (T, x)."""

    @staticmethod
    def forward(
        ctx: Any, tables: Tensor, x: Tensor, seen: Tensor | None, levels: Levels, sloped: bool
    ) -> Tensor | tuple[Tensor, Tensor]:
        ctx.save_for_backward(tables, x, seen)
        ctx.levels = levels
        ctx.set_materialize_grads(False)
        features, slopes = launch.gather(tables, x, seen, levels, sloped=sloped)
        return features if slopes is None else (features, slopes)

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, d_features: Tensor | None, d_slopes: Tensor | None = None
    ) -> tuple[Any, ...]:
        tables, x, seen = ctx.saved_tensors
        d_tables = d_x = None
        if ctx.needs_input_grad[0]:
            d_tables = _Scatter.apply(x, d_features, d_slopes, seen, ctx.levels, tables.dtype)
        if ctx.needs_input_grad[1]:
            d_x = _Positions.apply(tables, x, d_features, d_slopes, seen, ctx.levels)
        return d_tables, d_x, None, None, None


class _Scatter(torch.autograd.Function):
    """dB/dT of (x, g, G)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        d_features: Tensor | None,
        d_slopes: Tensor | None,
        seen: Tensor | None,
        levels: Levels,
        dtype: torch.dtype,
    ) -> Tensor:
        ctx.save_for_backward(x, d_features, d_slopes, seen)
        ctx.levels = levels
        return launch.scatter(x, d_features, d_slopes, seen, levels).to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v: Tensor) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, d_features, d_slopes, seen = ctx.saved_tensors
        needs = ctx.needs_input_grad
        d_x = by_features = by_slopes = None
        if needs[1] or needs[2]:
            by_features, by_slopes = launch.gather(v, x, seen, ctx.levels, sloped=needs[2])
        if needs[0]:
            d_x = launch.positions(v, x, d_features, d_slopes, seen, ctx.levels)
        return d_x, by_features if needs[1] else None, by_slopes, None, None, None


class _Positions(torch.autograd.Function):
    """dB/dx of (T, x, g, G)."""

    @staticmethod
    def forward(
        ctx: Any,
        tables: Tensor,
        x: Tensor,
        d_features: Tensor | None,
        d_slopes: Tensor | None,
        seen: Tensor | None,
        levels: Levels,
    ) -> Tensor:
        ctx.save_for_backward(tables, x, d_features, seen)
        ctx.levels, ctx.is_first_order = levels, d_slopes is None
        return launch.positions(tables, x, d_features, d_slopes, seen, levels)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v: Tensor) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        tables, x, d_features, seen = ctx.saved_tensors
        if not ctx.is_first_order:
            raise NotImplementedError("hash_encode: third derivatives in the positions")
        needs, levels = ctx.needs_input_grad, ctx.levels
        d_tables = d_x = by_features = None
        # v . dB/dx is B itself, with G = g v.
        outer = (d_features[..., None] * v[:, :, None]).to(levels.dtype)
        if needs[0]:
            d_tables = launch.scatter(x, None, outer, seen, levels).to(tables.dtype)
        if needs[1]:
            d_x = launch.positions(tables, x, None, outer, seen, levels)
        if needs[2]:
            _, slopes = launch.gather(tables, x, seen, levels, sloped=True)
            assert slopes is not None
            by_features = (slopes.to(v.dtype) * v[:, :, None]).sum(dim=-1).to(d_features.dtype)
        return d_tables, d_x, by_features, None, None, None


class _Pull(torch.autograd.Function):
    """Slopes times a cotangent of the features."""

    @staticmethod
    def forward(ctx: Any, slopes: Tensor, cotangent: Tensor) -> Tensor:
        ctx.save_for_backward(slopes, cotangent)
        return launch.pull(slopes, cotangent)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        slopes, cotangent = ctx.saved_tensors
        return launch.push(slopes, cotangent, d_out)
