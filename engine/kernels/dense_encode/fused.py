"""`engine.kernels.dense_encode` in Triton.

S scenes, P points, C channels, L lattices; W_k the weight of a corner k, v a direction at each
point. Every kernel uses either W_k or its slope along v, so that three of them make all the
derivatives of README.md.
"""

# pyright: reportArgumentType=false, reportIndexIssue=false, reportOptionalMemberAccess=false
# pyright: reportAttributeAccessIssue=false, reportIncompatibleMethodOverride=false

import math
from collections.abc import Sequence
from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

_POINTS = 128
"""Points of a program."""

_RUN = 16
"""Points in a row of whose gradient a thread adds up what goes to one cell."""

_RUNS = 16
"""Of a program: four warps, whose threads have a corner of a cell each."""

Grids = Sequence[Tensor]


def dense_encode(
    grids: Sequence[Float[Tensor, "S C _ _ _"]], x: Float[Tensor, "S P 3"]
) -> Float[Tensor, "S P C"]:
    """See the package."""
    return _Encode.apply(x, *grids)


class _Encode(torch.autograd.Function):
    """sum_k W_k(x) grid_k."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *grids: Tensor) -> Tensor:
        ctx.save_for_backward(x, *grids)
        return _gather(grids, x, None)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, *grids = ctx.saved_tensors
        g_x = _Slope.apply(x, g, *grids) if ctx.needs_input_grad[0] else None
        if not any(ctx.needs_input_grad[1:]):
            return g_x, *[None] * len(grids)
        return g_x, *_Spread.apply(x, g, *(grid.detach() for grid in grids))


class _Slope(torch.autograd.Function):
    """Gradient of <g, values> to the points: sum_kc g_c dW_k/dx grid_kc."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, g: Tensor, *grids: Tensor) -> Tensor:
        ctx.save_for_backward(x, g, *grids)
        return _slope(grids, x, g, None)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        x, g, *grids = ctx.saved_tensors
        wants_x, wants_g, *wants_grids = ctx.needs_input_grad
        g_x = _slope(grids, x, g, v) if wants_x else None
        g_g = _gather(grids, x, v) if wants_g else None
        g_grids = _spread(grids, x, g, v) if any(wants_grids) else [None] * len(grids)
        return g_x, g_g, *g_grids


class _Spread(torch.autograd.Function):
    """Gradient of <g, values> to the lattices, W_k(x) g_c; their own values play no part."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, g: Tensor, *like: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(x, g)
        return tuple(_spread(like, x, g, None))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *u: Tensor) -> tuple[Tensor | None, ...]:
        x, g = ctx.saved_tensors
        g_x = _slope(u, x, g, None) if ctx.needs_input_grad[0] else None
        g_g = _gather(u, x, None) if ctx.needs_input_grad[1] else None
        return g_x, g_g, *[None] * len(u)


def _gather(grids: Grids, x: Tensor, v: Tensor | None) -> Tensor:
    out = torch.empty(*x.shape[:2], grids[0].shape[1], device=x.device)
    _launch(dense_gather_kernel, [_even(grid) for grid in grids], x, v, out)
    return out


def _slope(grids: Grids, x: Tensor, g: Tensor, v: Tensor | None) -> Tensor:
    out = torch.empty(x.shape, device=x.device)
    _launch(dense_slope_kernel, [_even(grid) for grid in grids], x, v, out, g.contiguous())
    return out


def _spread(grids: Grids, x: Tensor, g: Tensor, v: Tensor | None) -> list[Tensor]:
    sums = [torch.zeros_like(_even(grid), dtype=torch.float32) for grid in grids]
    _launch(dense_spread_kernel, sums, x, v, g.contiguous(), BP=_RUNS, RUN=_RUN)
    return [s.to(grid.dtype) for s, grid in zip(sums, grids, strict=True)]


def _launch(
    kernel: Any, grids: Grids, x: Tensor, v: Tensor | None, *others: Tensor, **sizes: int
) -> None:
    """One program for some points of a scene, all lattices one after the other."""
    sizes = sizes or {"BP": _POINTS}
    num_scenes, num_points, _ = x.shape
    if num_scenes == 0 or num_points == 0:
        return
    for grid in grids:
        assert grid.shape[2:] == (grid.shape[-1],) * 3
        assert _is_even(grid)
        # Places in a scene's lattice are 32 bits wide.
        assert grid[0].numel() * grid.stride(4) < 2**31
    kernel[(triton.cdiv(num_points, math.prod(sizes.values())), num_scenes)](
        tuple(grids),
        x.contiguous(),
        None if v is None else v.contiguous(),
        *others,
        num_points,
        SIDES=tuple(grid.shape[-1] for grid in grids),
        SCENE_STEPS=tuple(grid.stride(0) for grid in grids),
        CHANNEL_STEPS=tuple(grid.stride(1) for grid in grids),
        POINT_STEPS=tuple(grid.stride(4) for grid in grids),
        C=grids[0].shape[1],
        BC=triton.next_power_of_2(grids[0].shape[1]),
        **sizes,
    )


def _even(grid: Tensor) -> Tensor:
    """The lattice, with its points at even distances in memory."""
    return grid if _is_even(grid) else grid.contiguous()


def _is_even(grid: Tensor) -> bool:
    side, step = grid.shape[-1], grid.stride(4)
    return grid.stride()[2:] == (side * side * step, side * step, step)


@triton.jit
@no_type_check
def _place(b_x, SIDE: tl.constexpr):
    """Lattice point below; hats of this one and the next along an axis, and the hats' slopes."""
    b_raw = (b_x + 1.0) * (0.5 * (SIDE - 1))
    b_place = tl.minimum(tl.maximum(b_raw, 0.0), SIDE - 1.0)
    b_cell = tl.minimum(b_place.to(tl.int32), SIDE - 2)
    b_way = b_place - b_cell
    m_inside = (b_raw > 0.0) & (b_raw < SIDE - 1.0)
    b_speed = tl.where(m_inside, 0.5 * (SIDE - 1), 0.0)
    return b_cell, (1.0 - b_way, b_way), (-b_speed, b_speed)


@triton.jit
@no_type_check
def _cell(b_at, SIDE: tl.constexpr):
    """`_place` along x, y and z: the cell that each point is in, its hats, and their slopes."""
    b_cx, b_hxs, b_dxs = _place(b_at[0], SIDE)
    b_cy, b_hys, b_dys = _place(b_at[1], SIDE)
    b_cz, b_hzs, b_dzs = _place(b_at[2], SIDE)
    return (b_cx, b_cy, b_cz), (b_hxs, b_hys, b_hzs), (b_dxs, b_dys, b_dzs)


@triton.jit
@no_type_check
def _row(b_cell, o_x, o_y, o_z, SIDE: tl.constexpr):
    """Number in the lattice of a corner of each cell."""
    return ((b_cell[2] + o_z) * SIDE + b_cell[1] + o_y) * SIDE + b_cell[0] + o_x


@triton.jit
@no_type_check
def _corner(b_cell, b_hs, b_ds, SIDE: tl.constexpr, CORNER: tl.constexpr):
    """Row of a corner of each cell; its hats along the axes, and their slopes. [BP] each"""
    X: tl.constexpr = CORNER % 2
    Y: tl.constexpr = CORNER // 2 % 2
    Z: tl.constexpr = CORNER // 4
    b_row = _row(b_cell, X, Y, Z, SIDE)
    return b_row, (b_hs[0][X], b_hs[1][Y], b_hs[2][Z]), (b_ds[0][X], b_ds[1][Y], b_ds[2][Z])


@triton.jit
@no_type_check
def _slope_along(b_v, b_h, b_d):
    """Slope of a corner's weight along a direction."""
    b_xy = (b_v[0] * b_d[0] * b_h[1] + b_v[1] * b_h[0] * b_d[1]) * b_h[2]
    return b_xy + b_v[2] * b_h[0] * b_h[1] * b_d[2]


@triton.jit
@no_type_check
def _load_vector(p_x, o_p, m_p):
    """x, y and z of each point."""
    b_x = tl.load(p_x + o_p * 3, mask=m_p, other=0.0).to(tl.float32)
    b_y = tl.load(p_x + o_p * 3 + 1, mask=m_p, other=0.0).to(tl.float32)
    b_z = tl.load(p_x + o_p * 3 + 2, mask=m_p, other=0.0).to(tl.float32)
    return b_x, b_y, b_z


@triton.jit
@no_type_check
def dense_gather_kernel(
    p_grids,
    p_x,
    p_v,
    p_out,
    num_points,
    SIDES: tl.constexpr,
    SCENE_STEPS: tl.constexpr,
    CHANNEL_STEPS: tl.constexpr,
    POINT_STEPS: tl.constexpr,
    C: tl.constexpr,
    BC: tl.constexpr,
    BP: tl.constexpr,
):
    """out_c = sum_k W_k grid_kc."""
    scene = tl.program_id(1).to(tl.int64)
    o_i = tl.program_id(0) * BP + tl.arange(0, BP)
    m_p = o_i < num_points
    o_p = scene * num_points + o_i
    o_c = tl.arange(0, BC)
    m = m_p[:, None] & (o_c < C)[None, :]
    b_at = _load_vector(p_x, o_p, m_p)
    if p_v is not None:
        b_v = _load_vector(p_v, o_p, m_p)
    b_out = tl.zeros((BP, BC), tl.float32)
    for k in tl.static_range(len(p_grids)):
        b_cell, b_hs, b_ds = _cell(b_at, SIDES[k])
        p_grid = p_grids[k] + scene * SCENE_STEPS[k] + o_c[None, :] * CHANNEL_STEPS[k]
        for corner in tl.static_range(8):
            b_row, b_h, b_d = _corner(b_cell, b_hs, b_ds, SIDES[k], corner)
            b_grid = tl.load(p_grid + b_row[:, None] * POINT_STEPS[k], mask=m, other=0.0)
            b_w = b_h[0] * b_h[1] * b_h[2] if p_v is None else _slope_along(b_v, b_h, b_d)
            b_out += b_w[:, None] * b_grid.to(tl.float32)
    tl.store(p_out + o_p[:, None] * C + o_c[None, :], b_out, mask=m)


@triton.jit
@no_type_check
def dense_slope_kernel(
    p_grids,
    p_x,
    p_v,
    p_out,
    p_g,
    num_points,
    SIDES: tl.constexpr,
    SCENE_STEPS: tl.constexpr,
    CHANNEL_STEPS: tl.constexpr,
    POINT_STEPS: tl.constexpr,
    C: tl.constexpr,
    BC: tl.constexpr,
    BP: tl.constexpr,
):
    """out = sum_kc g_c dW_k/dx grid_kc, by x, y and z."""
    scene = tl.program_id(1).to(tl.int64)
    o_i = tl.program_id(0) * BP + tl.arange(0, BP)
    m_p = o_i < num_points
    o_p = scene * num_points + o_i
    o_c = tl.arange(0, BC)
    m = m_p[:, None] & (o_c < C)[None, :]
    b_at = _load_vector(p_x, o_p, m_p)
    if p_v is not None:
        b_v = _load_vector(p_v, o_p, m_p)
    b_g = tl.load(p_g + o_p[:, None] * C + o_c[None, :], mask=m, other=0.0).to(tl.float32)
    b_gx = tl.zeros((BP,), tl.float32)
    b_gy = tl.zeros((BP,), tl.float32)
    b_gz = tl.zeros((BP,), tl.float32)
    for k in tl.static_range(len(p_grids)):
        b_cell, b_hs, b_ds = _cell(b_at, SIDES[k])
        p_grid = p_grids[k] + scene * SCENE_STEPS[k] + o_c[None, :] * CHANNEL_STEPS[k]
        for corner in tl.static_range(8):
            b_row, b_h, b_d = _corner(b_cell, b_hs, b_ds, SIDES[k], corner)
            b_grid = tl.load(p_grid + b_row[:, None] * POINT_STEPS[k], mask=m, other=0.0)
            b_value = tl.sum(b_g * b_grid.to(tl.float32), 1)
            if p_v is None:
                b_gx += b_value * b_d[0] * b_h[1] * b_h[2]
                b_gy += b_value * b_h[0] * b_d[1] * b_h[2]
                b_gz += b_value * b_h[0] * b_h[1] * b_d[2]
            else:
                b_gx += b_value * b_d[0] * (b_v[1] * b_d[1] * b_h[2] + b_v[2] * b_h[1] * b_d[2])
                b_gy += b_value * b_d[1] * (b_v[0] * b_d[0] * b_h[2] + b_v[2] * b_h[0] * b_d[2])
                b_gz += b_value * b_d[2] * (b_v[0] * b_d[0] * b_h[1] + b_v[1] * b_h[0] * b_d[1])
    tl.store(p_out + o_p * 3, b_gx, mask=m_p)
    tl.store(p_out + o_p * 3 + 1, b_gy, mask=m_p)
    tl.store(p_out + o_p * 3 + 2, b_gz, mask=m_p)


@triton.jit
@no_type_check
def _own_corner(b_at, SIDE: tl.constexpr, o_k):
    """As `_corner`, of another corner in each thread. [8, BP] each"""
    b_cell, b_hs, b_ds = _cell(b_at, SIDE)
    o_x, o_y, o_z = o_k % 2, o_k // 2 % 2, o_k // 4
    b_hx = tl.where(o_x == 0, b_hs[0][0], b_hs[0][1])
    b_hy = tl.where(o_y == 0, b_hs[1][0], b_hs[1][1])
    b_hz = tl.where(o_z == 0, b_hs[2][0], b_hs[2][1])
    b_dx = tl.where(o_x == 0, b_ds[0][0], b_ds[0][1])
    b_dy = tl.where(o_y == 0, b_ds[1][0], b_ds[1][1])
    b_dz = tl.where(o_z == 0, b_ds[2][0], b_ds[2][1])
    return _row(b_cell, o_x, o_y, o_z, SIDE), (b_hx, b_hy, b_hz), (b_dx, b_dy, b_dz)


@triton.jit
@no_type_check
def _add(p_grid, b_row, b_sum, m, POINT_STEP: tl.constexpr):
    """Sums [8, BP, BC] to rows [8, BP].

    What is zero, as behind a wall or beside the scene, is not sent; NaN is.
    """
    m_any = tl.sum((b_sum != 0.0).to(tl.int32), 2) > 0
    p_row = p_grid + (b_row * POINT_STEP)[:, :, None]
    tl.atomic_add(p_row, b_sum, mask=m_any[:, :, None] & m, sem="relaxed")


@triton.jit
@no_type_check
def dense_spread_kernel(
    p_grids,
    p_x,
    p_v,
    p_g,
    num_points,
    SIDES: tl.constexpr,
    SCENE_STEPS: tl.constexpr,
    CHANNEL_STEPS: tl.constexpr,
    POINT_STEPS: tl.constexpr,
    C: tl.constexpr,
    BC: tl.constexpr,
    BP: tl.constexpr,
    RUN: tl.constexpr,
):
    """grid_kc += W_k g_c; of RUN points in a row, those in one cell are summed before.

    A thread has a corner of the cell. Corners are the fastest axis of a tile: neighbours along x
    lie in neighbouring threads as they do in memory.
    """
    scene = tl.program_id(1).to(tl.int64)
    o_k = tl.arange(0, 8)[:, None]
    o_first = (tl.program_id(0) * BP + tl.arange(0, BP))[None, :] * RUN + 0 * o_k
    o_c = tl.arange(0, BC)[None, None, :]
    m_c = o_c < C
    for k in tl.static_range(len(p_grids)):
        p_grid = p_grids[k] + scene * SCENE_STEPS[k] + o_c * CHANNEL_STEPS[k]
        b_sum = tl.zeros((8, BP, BC), tl.float32)
        b_row = tl.zeros((8, BP), tl.int32)
        for step in range(RUN):
            m_p = o_first + step < num_points
            o_p = scene * num_points + o_first + step
            o_g = o_p[:, :, None] * C + o_c
            b_g = tl.load(p_g + o_g, mask=m_p[:, :, None] & m_c, other=0.0).to(tl.float32)
            b_next, b_h, b_d = _own_corner(_load_vector(p_x, o_p, m_p), SIDES[k], o_k)
            if p_v is None:
                b_w = b_h[0] * b_h[1] * b_h[2]
            else:
                # Where there is no gradient, v may be anything.
                m_g = tl.sum((b_g != 0.0).to(tl.int32), 2) > 0
                b_v = _load_vector(p_v, o_p, m_p & m_g)
                b_w = _slope_along(b_v, b_h, b_d)
            m_left = (b_next != b_row)[:, :, None]
            _add(p_grid, b_row, b_sum, m_left & m_c, POINT_STEPS[k])
            b_sum = tl.where(m_left, 0.0, b_sum) + b_w[:, :, None] * b_g
            b_row = b_next
        _add(p_grid, b_row, b_sum, m_c, POINT_STEPS[k])
