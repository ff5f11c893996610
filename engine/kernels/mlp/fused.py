"""`engine.kernels.mlp` in Triton: a tile of points goes through both layers on the chip.

S scenes, P points, F features, H hidden units, D outputs; g cotangent of the outputs, u direction
of the features at each point. Features may have any strides. The mathematics is in README.md.
"""

# pyright: reportArgumentType=false, reportIndexIssue=false, reportOptionalMemberAccess=false
# pyright: reportAttributeAccessIssue=false, reportIncompatibleMethodOverride=false

from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from engine.kernels.tiles import dot, side

_POINTS = {"half": 64, "float32": 32}
"""Points of a tile, ..."""
_WARPS = {"half": 4, "float32": 8}
"""... and the warps of a program: as many as the registers hold."""
_PROGRAMS = 128
"""Programs that share a scene's tiles. Not the chip's number, nor the gang's: the order of a
scene's sums depends on nothing else."""


def mlp(
    x: Float[Tensor, "S P F"],
    w0: Float[Tensor, "S F H"],
    b0: Float[Tensor, "S 1 H"],
    w1: Float[Tensor, "S H D"],
    b1: Float[Tensor, "S 1 D"],
) -> Float[Tensor, "S P D"]:
    """See the package."""
    # Before the function, whose gradient would not find its way from copies to what they are of.
    return _Mlp.apply(x, *(t.contiguous() for t in (w0, b0, w1, b1)))


class _Mlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w0: Tensor, b0: Tensor, w1: Tensor, b1: Tensor) -> Tensor:
        ctx.save_for_backward(x, w0, b0, w1)
        return _forward(x, w0, b0, w1, b1)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, w0, b0, w1 = ctx.saved_tensors
        needs_x, *needs_weights = ctx.needs_input_grad
        return _Backward.apply(x, g, w0, b0, w1, needs_x, any(needs_weights))


class _Backward(torch.autograd.Function):
    """All gradients of <g, outputs>; that to x can be differentiated again."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        g: Tensor,
        w0: Tensor,
        b0: Tensor,
        w1: Tensor,
        needs_x: bool,
        needs_weights: bool,
    ) -> tuple[Tensor | None, ...]:
        g = g.contiguous()
        ctx.save_for_backward(x, g, w0, b0, w1)
        ctx.set_materialize_grads(False)
        return _backward(x, g, w0, b0, w1, needs_x=needs_x, needs_weights=needs_weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor | None, *others: Tensor | None) -> tuple[Tensor | None, ...]:
        if any(other is not None for other in others):
            raise NotImplementedError("mlp: only its gradient to x can be differentiated again")
        if u is None:
            return (None,) * 7
        x, g, w0, b0, w1 = ctx.saved_tensors
        g_g = _forward(x, w0, b0, w1, None, u) if ctx.needs_input_grad[1] else None
        g_w0 = g_w1 = None
        if any(ctx.needs_input_grad[2:5]):
            _, g_w0, _, g_w1, _ = _backward(x, g, w0, b0, w1, u, needs_weights=True)
        # Between the kinks nothing depends on x itself, or on the biases.
        return None, g_g, g_w0, None, g_w1, None, None


def _forward(
    x: Tensor, w0: Tensor, b0: Tensor, w1: Tensor, b1: Tensor | None, u: Tensor | None = None
) -> Tensor:
    """The outputs, or with u their slope along it."""
    out = torch.empty(*x.shape[:2], w1.shape[-1], device=x.device)
    _launch(mlp_fwd_kernel, x, w0, b0, w1, u, b1, out, *_strides(x), *_strides(u))
    return out


def _backward(
    x: Tensor,
    g: Tensor,
    w0: Tensor,
    b0: Tensor,
    w1: Tensor,
    u: Tensor | None = None,
    *,
    needs_x: bool = False,
    needs_weights: bool,
) -> tuple[Tensor | None, ...]:
    """Gradients to x, w0, b0, w1 and b1; with u, those of the outputs' slope along it."""
    num_scenes, num_features, num_units = w0.shape
    num_outputs = w1.shape[-1]
    g_x = torch.empty_like(x) if needs_x else None
    sizes = [num_features * num_units, num_units, num_units * num_outputs, num_outputs]
    # One share a program, summed in a fixed order.
    shares = None
    if needs_weights:
        shares = torch.empty(num_scenes, _num_programs(x), sum(sizes), device=x.device)
    strides = (*_strides(x), *_strides(u), *_strides(g_x))
    _launch(mlp_bwd_kernel, x, w0, b0, w1, u, g, g_x, shares, *strides)
    if shares is None:
        return g_x, None, None, None, None
    parts = shares.sum(dim=1).split(sizes, dim=1)
    shapes = ((num_features, num_units), (1, num_units), (num_units, num_outputs), (1, num_outputs))
    weights = (p.view(num_scenes, *shape) for p, shape in zip(parts, shapes, strict=True))
    return g_x, *weights


def _precision(x: Tensor) -> str:
    return "float32" if x.dtype == torch.float32 else "half"


def _num_programs(x: Tensor) -> int:
    return min(_PROGRAMS, int(triton.cdiv(x.shape[1], _POINTS[_precision(x)])))


def _strides(x: Tensor | None) -> tuple[int, ...]:
    """Features may lie in memory as their encoding left them."""
    return (0, 0, 0) if x is None else x.stride()


def _launch(
    kernel: Any, x: Tensor, w0: Tensor, b0: Tensor, w1: Tensor, *others: Tensor | int | None
) -> None:
    """A scene's tiles, dealt out to its programs."""
    num_scenes, num_points, num_features = x.shape
    if num_scenes == 0 or num_points == 0:
        return
    num_units, num_outputs = w1.shape[1:]
    kernel[(_num_programs(x), num_scenes)](
        x,
        w0,
        b0,
        w1,
        *others,
        num_points,
        F=num_features,
        H=num_units,
        D=num_outputs,
        BF=side(num_features),
        BH=side(num_units),
        BD=side(num_outputs),
        BP=_POINTS[_precision(x)],
        num_warps=_WARPS[_precision(x)],
    )


@triton.jit
@no_type_check
def _load_matrix(p_w, scene, o_row, o_col, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    m = (o_row < ROWS)[:, None] & (o_col < COLUMNS)[None, :]
    o = scene * ROWS * COLUMNS + o_row[:, None] * COLUMNS + o_col[None, :]
    return tl.load(p_w + o, mask=m, other=0.0)


@triton.jit
@no_type_check
def mlp_fwd_kernel(
    p_x,
    p_w0,
    p_b0,
    p_w1,
    p_u,
    p_b1,
    p_out,
    stride_xs,
    stride_xp,
    stride_xf,
    stride_us,
    stride_up,
    stride_uf,
    num_points,
    F: tl.constexpr,
    H: tl.constexpr,
    D: tl.constexpr,
    BF: tl.constexpr,
    BH: tl.constexpr,
    BD: tl.constexpr,
    BP: tl.constexpr,
):
    DTYPE: tl.constexpr = p_x.dtype.element_ty
    scene = tl.program_id(1).to(tl.int64)
    o_f, o_h, o_d = tl.arange(0, BF), tl.arange(0, BH), tl.arange(0, BD)
    p_x += scene * stride_xs
    if p_u is not None:
        p_u += scene * stride_us
    b_w0 = _load_matrix(p_w0, scene, o_f, o_h, F, H)
    b_w1 = _load_matrix(p_w1, scene, o_h, o_d, H, D)
    b_b0 = tl.load(p_b0 + scene * H + o_h, mask=o_h < H, other=0.0)
    if p_b1 is not None:
        b_b1 = tl.load(p_b1 + scene * D + o_d, mask=o_d < D, other=0.0)
    for tile in range(tl.program_id(0), tl.cdiv(num_points, BP), tl.num_programs(0)):
        o_i = tile * BP + tl.arange(0, BP)
        m_p = o_i < num_points
        o_p = scene * num_points + o_i
        m_x = m_p[:, None] & (o_f < F)[None, :]
        b_x = tl.load(p_x + o_i[:, None] * stride_xp + o_f[None, :] * stride_xf, m_x, 0.0)
        b_h = dot(b_x, b_w0, DTYPE) + b_b0[None, :]  # [BP, BH]
        if p_u is None:
            b_h = tl.where(b_h > 0.0, b_h, 0.0)
        else:
            b_u = tl.load(p_u + o_i[:, None] * stride_up + o_f[None, :] * stride_uf, m_x, 0.0)
            b_h = tl.where(b_h > 0.0, dot(b_u, b_w0, DTYPE), 0.0)
        b_out = dot(b_h, b_w1, DTYPE)  # [BP, BD]
        if p_b1 is not None:
            b_out += b_b1[None, :]
        m_out = m_p[:, None] & (o_d < D)[None, :]
        tl.store(p_out + o_p[:, None] * D + o_d[None, :], b_out, mask=m_out)


@triton.jit
@no_type_check
def mlp_bwd_kernel(
    p_x,
    p_w0,
    p_b0,
    p_w1,
    p_u,
    p_g,
    p_g_x,
    p_shares,
    stride_xs,
    stride_xp,
    stride_xf,
    stride_us,
    stride_up,
    stride_uf,
    stride_gs,
    stride_gp,
    stride_gf,
    num_points,
    F: tl.constexpr,
    H: tl.constexpr,
    D: tl.constexpr,
    BF: tl.constexpr,
    BH: tl.constexpr,
    BD: tl.constexpr,
    BP: tl.constexpr,
):
    DTYPE: tl.constexpr = p_x.dtype.element_ty
    scene = tl.program_id(1).to(tl.int64)
    o_f, o_h, o_d = tl.arange(0, BF), tl.arange(0, BH), tl.arange(0, BD)
    p_x += scene * stride_xs
    if p_u is not None:
        p_u += scene * stride_us
    if p_g_x is not None:
        p_g_x += scene * stride_gs
    b_w0 = _load_matrix(p_w0, scene, o_f, o_h, F, H)
    b_w1 = _load_matrix(p_w1, scene, o_h, o_d, H, D)
    b_b0 = tl.load(p_b0 + scene * H + o_h, mask=o_h < H, other=0.0)
    b_g_w0 = tl.zeros((BF, BH), tl.float32)
    b_g_w1 = tl.zeros((BH, BD), tl.float32)
    b_g_b0 = tl.zeros((BH,), tl.float32)
    b_g_b1 = tl.zeros((BD,), tl.float32)
    for tile in range(tl.program_id(0), tl.cdiv(num_points, BP), tl.num_programs(0)):
        o_i = tile * BP + tl.arange(0, BP)
        m_p = o_i < num_points
        o_p = scene * num_points + o_i
        m_x = m_p[:, None] & (o_f < F)[None, :]
        m_g = m_p[:, None] & (o_d < D)[None, :]
        b_x = tl.load(p_x + o_i[:, None] * stride_xp + o_f[None, :] * stride_xf, m_x, 0.0)
        b_g = tl.load(p_g + o_p[:, None] * D + o_d[None, :], mask=m_g, other=0.0)
        b_h = dot(b_x, b_w0, DTYPE) + b_b0[None, :]  # [BP, BH]
        m_h = b_h > 0.0
        b_g_h = tl.where(m_h, dot(b_g, tl.trans(b_w1), DTYPE), 0.0)  # [BP, BH]
        if p_g_x is not None:
            p_tile = p_g_x + o_i[:, None] * stride_gp + o_f[None, :] * stride_gf
            tl.store(p_tile, dot(b_g_h, tl.trans(b_w0), DTYPE), mask=m_x)
        if p_shares is not None:
            if p_u is not None:
                b_x = tl.load(p_u + o_i[:, None] * stride_up + o_f[None, :] * stride_uf, m_x, 0.0)
                b_h = dot(b_x, b_w0, DTYPE)
            b_h = tl.where(m_h, b_h, 0.0)
            b_g_w0 += dot(tl.trans(b_x), b_g_h, DTYPE)
            b_g_w1 += dot(tl.trans(b_h), b_g, DTYPE)
            b_g_b0 += tl.sum(b_g_h, 0)
            b_g_b1 += tl.sum(b_g.to(tl.float32), 0)
    if p_shares is not None:
        share = scene * tl.num_programs(0) + tl.program_id(0)
        p_share = p_shares + share * (F * H + H + H * D + D)
        m_h, m_d = o_h < H, o_d < D
        m_w0 = (o_f < F)[:, None] & m_h[None, :]
        tl.store(p_share + o_f[:, None] * H + o_h[None, :], b_g_w0, mask=m_w0)
        tl.store(p_share + F * H + o_h, b_g_b0, mask=m_h)
        p_share += F * H + H
        m_w1 = m_h[:, None] & m_d[None, :]
        tl.store(p_share + o_h[:, None] * D + o_d[None, :], b_g_w1, mask=m_w1)
        tl.store(p_share + H * D + o_d, b_g_b1, mask=m_d)
