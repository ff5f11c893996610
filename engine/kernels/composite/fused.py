"""`engine.kernels.composite` in Triton: a tile holds whole rays, so each pass reads once.

R rays, N samples, C channels of a value; the mathematics is in README.md.
"""

# pyright: reportArgumentType=false, reportIndexIssue=false, reportOptionalMemberAccess=false
# pyright: reportAttributeAccessIssue=false, reportOptionalSubscript=false
# pyright: reportIncompatibleMethodOverride=false

from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from engine.kernels.composite.reference import Composited

_TILE = 1024
"""Samples a program holds, unless a single ray has more."""


def composite(
    sigma: Float[Tensor, "*r N"],
    delta: Float[Tensor, "*r N"],
    *values: Float[Tensor, "*r N _"],
) -> Composited:
    """See the package."""
    assert not delta.requires_grad
    weights, opacity, *sums = _Composite.apply(sigma, delta, *values)
    return Composited(weights=weights, opacity=opacity, sums=tuple(sums))


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sigma: Tensor, delta: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        sigma, values = sigma.contiguous(), tuple(v.contiguous() for v in values)
        weights = torch.empty(sigma.shape, device=sigma.device)
        opacity = torch.empty(sigma.shape[:-1], device=sigma.device)
        sums = tuple(torch.empty(*opacity.shape, v.shape[-1], device=sigma.device) for v in values)
        _launch(composite_fwd_kernel, sigma, delta, values, (weights, opacity, sums))
        ctx.save_for_backward(sigma, delta, *values)
        ctx.set_materialize_grads(False)
        return weights, opacity, *sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor | None) -> tuple[Tensor | None, ...]:
        sigma, delta, *values = ctx.saved_tensors
        g_weights, g_opacity, *g_sums = [None if g is None else g.contiguous() for g in slopes]
        # A sum that nothing depends on is not looked at.
        used = [k for k, g in enumerate(g_sums) if g is not None]
        g_sigma = torch.empty_like(sigma)
        g_values = {k: torch.empty_like(values[k]) for k in used if ctx.needs_input_grad[2 + k]}
        given = (g_weights, g_opacity, tuple(g_sums[k] for k in used))
        wanted = (g_sigma, tuple(g_values.get(k) for k in used))
        used_values = tuple(values[k] for k in used)
        _launch(composite_bwd_kernel, sigma, delta, used_values, (*given, *wanted))
        return g_sigma, None, *(g_values.get(k) for k in range(len(values)))


def _launch(
    kernel: Any, sigma: Tensor, delta: Tensor, values: tuple[Tensor, ...], others: tuple[Any, ...]
) -> None:
    """One program for some whole rays."""
    num_samples = sigma.shape[-1]
    # Often one length a ray, spread over its samples by a stride of 0: it stays so.
    delta = delta.reshape(-1, num_samples)
    num_rays = len(delta)
    if num_rays == 0:
        return
    width = triton.next_power_of_2(num_samples)
    height = max(1, _TILE // width)
    kernel[(triton.cdiv(num_rays, height),)](
        sigma,
        delta,
        values,
        *others,
        num_rays,
        num_samples,
        *delta.stride(),
        CHANNELS=tuple(v.shape[-1] for v in values),
        BR=height,
        BN=width,
    )


@triton.jit
@no_type_check
def _followed_by(rest, last, next_rest, next_last):
    """Joins two stretches of a ray, each as the sum of all but its last sample, and the last."""
    return rest + last + next_rest, next_last


@triton.jit
@no_type_check
def _sum_before(b_x, REVERSE: tl.constexpr):
    """Sums over the samples before each one, or after it; without ever taking a difference."""
    b_rest, _ = tl.associative_scan((tl.zeros_like(b_x), b_x), 1, _followed_by, reverse=REVERSE)
    return b_rest


@triton.jit
@no_type_check
def _absorbed(b_tau):
    """1 - exp(-tau), to a relative error of some 1e-7: by its series where tau is small."""
    b_series = 1 / 24 - b_tau * (1 / 120 - b_tau * (1 / 720 - b_tau * (1 / 5040)))
    b_series = b_tau * (1.0 - b_tau * (1 / 2 - b_tau * (1 / 6 - b_tau * b_series)))
    return tl.where(b_tau < 0.25, b_series, 1.0 - tl.exp(-b_tau))


# A loop's length has to be a constant, and an element of a tuple is one only as an argument.
@triton.jit
@no_type_check
def _store_sums(p_value, p_sum, b_w, o, o_r, m, m_r, C: tl.constexpr):
    """Stores the sums of one value."""
    for c in tl.static_range(C):
        b_v = tl.load(p_value + o * C + c, mask=m, other=0.0).to(tl.float32)
        tl.store(p_sum + o_r * C + c, tl.sum(b_w * b_v, 1), mask=m_r)


@triton.jit
@no_type_check
def _weights_slope(p_value, p_g_sum, p_g_value, b_w, o, o_r, m, m_r, C: tl.constexpr):
    """Gradient of the weights through one value's sums; stores the gradient of the value."""
    b_g = tl.zeros_like(b_w)
    for c in tl.static_range(C):
        b_v = tl.load(p_value + o * C + c, mask=m, other=0.0).to(tl.float32)
        b_g_sum = tl.load(p_g_sum + o_r * C + c, mask=m_r, other=0.0)
        b_g += b_g_sum[:, None] * b_v
        if p_g_value is not None:
            tl.store(p_g_value + o * C + c, b_w * b_g_sum[:, None], mask=m)
    return b_g


@triton.jit
@no_type_check
def composite_fwd_kernel(
    p_sigma,
    p_delta,
    p_values,
    p_weights,
    p_opacity,
    p_sums,
    num_rays,
    num_samples,
    stride_ray,
    stride_sample,
    CHANNELS: tl.constexpr,
    BR: tl.constexpr,
    BN: tl.constexpr,
):
    o_r = tl.program_id(0).to(tl.int64) * BR + tl.arange(0, BR)
    o_n = tl.arange(0, BN)
    m_r = o_r < num_rays
    m = m_r[:, None] & (o_n < num_samples)[None, :]
    o = o_r[:, None] * num_samples + o_n[None, :]  # [BR, BN]
    p_d = p_delta + o_r[:, None] * stride_ray + o_n[None, :] * stride_sample
    b_sigma = tl.load(p_sigma + o, mask=m, other=0.0).to(tl.float32)
    b_tau = b_sigma * tl.load(p_d, mask=m, other=0.0).to(tl.float32)
    b_w = tl.exp(-_sum_before(b_tau, False)) * _absorbed(b_tau)
    tl.store(p_weights + o, b_w, mask=m)
    tl.store(p_opacity + o_r, tl.sum(b_w, 1), mask=m_r)
    for k in tl.static_range(len(p_values)):
        _store_sums(p_values[k], p_sums[k], b_w, o, o_r, m, m_r, CHANNELS[k])


@triton.jit
@no_type_check
def composite_bwd_kernel(
    p_sigma,
    p_delta,
    p_values,
    p_g_weights,
    p_g_opacity,
    p_g_sums,
    p_g_sigma,
    p_g_values,
    num_rays,
    num_samples,
    stride_ray,
    stride_sample,
    CHANNELS: tl.constexpr,
    BR: tl.constexpr,
    BN: tl.constexpr,
):
    o_r = tl.program_id(0).to(tl.int64) * BR + tl.arange(0, BR)
    o_n = tl.arange(0, BN)
    m_r = o_r < num_rays
    m = m_r[:, None] & (o_n < num_samples)[None, :]
    o = o_r[:, None] * num_samples + o_n[None, :]  # [BR, BN]
    p_d = p_delta + o_r[:, None] * stride_ray + o_n[None, :] * stride_sample
    b_delta = tl.load(p_d, mask=m, other=0.0).to(tl.float32)
    b_tau = tl.load(p_sigma + o, mask=m, other=0.0).to(tl.float32) * b_delta
    b_before = _sum_before(b_tau, False)
    b_w = tl.exp(-b_before) * _absorbed(b_tau)
    b_g = tl.zeros((BR, BN), tl.float32)  # of each weight, through all that depends on it
    if p_g_weights is not None:
        b_g += tl.load(p_g_weights + o, mask=m, other=0.0)
    if p_g_opacity is not None:
        b_g += tl.load(p_g_opacity + o_r, mask=m_r, other=0.0)[:, None]
    for k in tl.static_range(len(p_values)):
        b_g += _weights_slope(
            p_values[k], p_g_sums[k], p_g_values[k], b_w, o, o_r, m, m_r, CHANNELS[k]
        )
    b_behind = _sum_before(b_w * b_g, True)
    b_g_tau = tl.exp(-(b_before + b_tau)) * b_g - b_behind
    tl.store(p_g_sigma + o, b_g_tau * b_delta, mask=m)
