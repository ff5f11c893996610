"""`engine.kernels.march` in Triton: a bin is a bit; a sample's bin is counted, not searched for.

S scenes, R rays, M bins, N samples; README.md says how.
"""

# pyright: reportArgumentType=false, reportIndexIssue=false

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Float
from torch import Tensor

_TILE = 1024
"""Samples a program holds, unless a single ray has more."""


def march(
    is_occupied: Bool[Tensor, "S cells"],
    origins: Float[Tensor, "S R 3"],
    directions: Float[Tensor, "S R 3"],
    near: Float[Tensor, "S R"],
    far: Float[Tensor, "S R"],
    u: Float[Tensor, "S R N"],
    *,
    num_bins: int,
    grid_size: int,
    bound: float,
) -> tuple[Float[Tensor, "S R N"], Float[Tensor, "S R N"]]:
    """See the package."""
    num_scenes, num_rays, num_samples = u.shape
    distance = torch.empty(u.shape, device=u.device)
    delta = torch.empty(num_scenes, num_rays, device=u.device)
    if distance.numel() > 0:
        width = int(triton.next_power_of_2(num_samples))
        height = max(1, _TILE // width)
        march_kernel[(triton.cdiv(num_rays, height), num_scenes)](
            is_occupied.contiguous().view(torch.uint8),
            origins.contiguous(),
            directions.contiguous(),
            near.contiguous(),
            ((far - near) / num_bins).contiguous(),
            u.contiguous(),
            distance,
            delta,
            num_rays,
            num_samples,
            bound,
            0.5 * grid_size / bound,
            NUM_BINS=num_bins,
            G=grid_size,
            BR=height,
            BN=width,
        )
    return distance, delta[..., None].expand_as(distance)


@triton.jit
@no_type_check
def _cell(b_o, b_d, b_t, bound, scale, G: tl.constexpr):
    """Cell along one axis of the points at distances t."""
    b_x = b_o[:, None] + b_t * b_d[:, None]
    b_cell = ((b_x + bound) * scale).to(tl.int32)
    return tl.minimum(tl.maximum(b_cell, 0), G - 1)


@triton.jit
@no_type_check
def _word(p_cells, b_rays, chunk, bound, scale, NUM_BINS: tl.constexpr, G: tl.constexpr):
    """Bits of 32 bins, set where they lie in occupied cells."""
    b_ox, b_oy, b_oz, b_dx, b_dy, b_dz, b_near, b_length = b_rays
    o_bit = tl.arange(0, 32)
    o_bin = chunk * 32 + o_bit
    b_t = b_near[:, None] + (o_bin + 0.5)[None, :] * b_length[:, None]
    b_row = _cell(b_oz, b_dz, b_t, bound, scale, G) * G + _cell(b_oy, b_dy, b_t, bound, scale, G)
    b_row = b_row * G + _cell(b_ox, b_dx, b_t, bound, scale, G)
    b_hit = tl.load(p_cells + b_row, mask=(o_bin < NUM_BINS)[None, :], other=0)
    return tl.sum((b_hit != 0).to(tl.int32) << o_bit[None, :], 1)


@triton.jit
@no_type_check
def march_kernel(
    p_cells,
    p_origins,
    p_directions,
    p_near,
    p_length,
    p_u,
    p_distance,
    p_delta,
    num_rays,
    num_samples,
    bound,
    scale,
    NUM_BINS: tl.constexpr,
    G: tl.constexpr,
    BR: tl.constexpr,
    BN: tl.constexpr,
):
    scene = tl.program_id(1).to(tl.int64)
    o_i = tl.program_id(0) * BR + tl.arange(0, BR)
    m_r = o_i < num_rays
    o_r = scene * num_rays + o_i
    o_n = tl.arange(0, BN)
    b_near = tl.load(p_near + o_r, mask=m_r, other=0.0)
    b_length = tl.load(p_length + o_r, mask=m_r, other=0.0)
    b_rays = (
        tl.load(p_origins + o_r * 3, mask=m_r, other=0.0),
        tl.load(p_origins + o_r * 3 + 1, mask=m_r, other=0.0),
        tl.load(p_origins + o_r * 3 + 2, mask=m_r, other=0.0),
        tl.load(p_directions + o_r * 3, mask=m_r, other=0.0),
        tl.load(p_directions + o_r * 3 + 1, mask=m_r, other=0.0),
        tl.load(p_directions + o_r * 3 + 2, mask=m_r, other=0.0),
        b_near,
        b_length,
    )
    p_cells += scene * G * G * G
    b_total = tl.zeros((BR,), tl.int32)
    for chunk in range(tl.cdiv(NUM_BINS, 32)):
        b_word = _word(p_cells, b_rays, chunk, bound, scale, NUM_BINS, G)
        for bit in tl.static_range(32):
            b_total += (b_word >> bit) & 1
    m_blind = b_total == 0
    b_total = tl.where(m_blind, NUM_BINS, b_total)
    o = o_r[:, None] * num_samples + o_n[None, :]
    m = m_r[:, None] & (o_n < num_samples)[None, :]
    b_u = tl.load(p_u + o, mask=m, other=0.0)
    b_wanted = b_total.to(tl.float32)[:, None] * (o_n[None, :] + b_u) / num_samples
    # Rounding can put the last sample at the very end, past which no occupied bin follows.
    b_rank = tl.minimum(b_wanted.to(tl.int32), b_total[:, None] - 1)
    b_index = tl.zeros((BR, BN), tl.int32)
    b_passed = tl.zeros((BR,), tl.int32)
    for chunk in range(tl.cdiv(NUM_BINS, 32)):
        b_word = _word(p_cells, b_rays, chunk, bound, scale, NUM_BINS, G)
        b_word = tl.where(m_blind, -1, b_word)
        for bit in tl.static_range(32):
            b_passed += (b_word >> bit) & 1
            b_index += (b_passed[:, None] <= b_rank).to(tl.int32)
    b_within = b_wanted - b_rank
    b_distance = b_near[:, None] + (b_index + b_within) * b_length[:, None]
    tl.store(p_distance + o, b_distance, mask=m)
    tl.store(p_delta + o_r, b_total / num_samples * b_length, mask=m_r)
