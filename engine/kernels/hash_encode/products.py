"""Kernels: slopes times a cotangent, and the way back. All bytes are read and written once."""

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def pull_fwd_kernel(
    p_slopes,
    p_g,
    p_out,
    num_points,
    num_columns,
    stride_ss,
    stride_sp,
    stride_sc,
    stride_sk,
    stride_gs,
    stride_gp,
    stride_gc,
    BLOCK: tl.constexpr,
):
    """out S P 3 = sum over columns of slopes S P C 3 times g S P C."""
    scene = tl.program_id(1).to(tl.int64)
    o_p = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    m_p = o_p < num_points
    dtype: tl.constexpr = p_out.dtype.element_ty
    p_s = p_slopes + scene * stride_ss + o_p * stride_sp
    p_g += scene * stride_gs + o_p * stride_gp
    b_x = tl.zeros([BLOCK], dtype=dtype)
    b_y = tl.zeros([BLOCK], dtype=dtype)
    b_z = tl.zeros([BLOCK], dtype=dtype)
    for _ in range(num_columns):
        b_g = tl.load(p_g, mask=m_p, other=0.0).to(dtype)
        b_x += b_g * tl.load(p_s, mask=m_p, other=0.0).to(dtype)
        b_y += b_g * tl.load(p_s + stride_sk, mask=m_p, other=0.0).to(dtype)
        b_z += b_g * tl.load(p_s + 2 * stride_sk, mask=m_p, other=0.0).to(dtype)
        p_s += stride_sc
        p_g += stride_gc
    p_out += scene * num_points * 3
    tl.store(p_out + o_p * 3, b_x, mask=m_p)
    tl.store(p_out + o_p * 3 + 1, b_y, mask=m_p)
    tl.store(p_out + o_p * 3 + 2, b_z, mask=m_p)


@triton.jit
@no_type_check
def pull_bwd_kernel(
    p_slopes,
    p_g,
    p_d_out,
    p_d_slopes,
    p_d_g,
    num_points,
    num_columns,
    stride_ss,
    stride_sp,
    stride_sc,
    stride_sk,
    stride_gs,
    stride_gp,
    stride_gc,
    BLOCK: tl.constexpr,
):
    """d_slopes (S 3 C P in memory) = g d_out, d_g (S C P in memory) = slopes . d_out."""
    scene = tl.program_id(1).to(tl.int64)
    o_p = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    m_p = o_p < num_points
    dtype: tl.constexpr = p_d_out.dtype.element_ty
    p_d_out += scene * num_points * 3
    b_x = tl.load(p_d_out + o_p * 3, mask=m_p, other=0.0)
    b_y = tl.load(p_d_out + o_p * 3 + 1, mask=m_p, other=0.0)
    b_z = tl.load(p_d_out + o_p * 3 + 2, mask=m_p, other=0.0)
    p_s = p_slopes + scene * stride_ss + o_p * stride_sp
    p_g += scene * stride_gs + o_p * stride_gp
    stride = num_columns * num_points
    p_d_s = p_d_slopes + scene * stride * 3 + o_p
    p_d_g += scene * stride + o_p
    for _ in range(num_columns):
        b_g = tl.load(p_g, mask=m_p, other=0.0).to(dtype)
        b_d_g = b_x * tl.load(p_s, mask=m_p, other=0.0).to(dtype)
        b_d_g += b_y * tl.load(p_s + stride_sk, mask=m_p, other=0.0).to(dtype)
        b_d_g += b_z * tl.load(p_s + 2 * stride_sk, mask=m_p, other=0.0).to(dtype)
        tl.store(p_d_g, b_d_g, mask=m_p)
        tl.store(p_d_s, b_g * b_x, mask=m_p)
        tl.store(p_d_s + stride, b_g * b_y, mask=m_p)
        tl.store(p_d_s + 2 * stride, b_g * b_z, mask=m_p)
        p_s += stride_sc
        p_g += stride_gc
        p_d_s += num_points
        p_d_g += num_points
