"""`engine.kernels.adam` in Triton: every number is read and written once.

S scenes, each with its numbers in the order in which the parameter's lie in memory.
"""

# pyright: reportArgumentType=false

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Float
from torch import Tensor

_TILE = 1024
"""Numbers of a program."""


def adam(
    p: Float[Tensor, "S ..."],
    gradient: Float[Tensor, "S ..."],
    first: Float[Tensor, "S ..."],
    second: Float[Tensor, "S ..."],
    rate: Float[Tensor, "S"],
    correction: Float[Tensor, "S"],
    is_active: Bool[Tensor, "S"],
    *,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """See the package."""
    num_scenes = len(p)
    if p.numel() == 0:
        return
    count = p.numel() // num_scenes
    if gradient.stride() != p.stride():
        gradient = torch.empty_like(p).copy_(gradient)
    for t in (p, gradient, first, second):
        # Whole scenes one after the other, all in one order.
        assert t.stride() == p.stride()
        assert t.stride(0) == count or num_scenes == 1
    assert _fills_its_memory(p)
    adam_kernel[triton.cdiv(count, _TILE), num_scenes](
        p,
        gradient,
        first,
        second,
        rate,
        correction,
        is_active,
        count,
        1.0 - betas[0],
        1.0 - betas[1],
        eps,
        BLOCK=_TILE,
    )


def _fills_its_memory(t: Tensor) -> bool:
    """Whether the numbers lie without gaps, in whatever order."""
    reach = sum((n - 1) * s for n, s in zip(t.shape, t.stride(), strict=True))
    return reach == t.numel() - 1


@triton.jit
@no_type_check
def adam_kernel(
    p_p,
    p_g,
    p_m,
    p_v,
    p_rate,
    p_correction,
    p_active,
    count,
    part1,
    part2,
    eps,
    BLOCK: tl.constexpr,
):
    scene = tl.program_id(1).to(tl.int64)
    o_i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    m_i = o_i < count
    o = scene * count + o_i
    # A gradient that counts for nothing need not be read.
    b_g = tl.load(p_g + o, mask=m_i & tl.load(p_active + scene), other=0.0)
    b_m, b_v = tl.load(p_m + o, mask=m_i, other=0.0), tl.load(p_v + o, mask=m_i, other=0.0)
    b_m += part1 * (b_g - b_m)
    b_v += part2 * (b_g * b_g - b_v)
    tl.store(p_m + o, b_m, mask=m_i)
    tl.store(p_v + o, b_v, mask=m_i)
    b_scale = tl.sqrt_rn(b_v) / tl.load(p_correction + scene) + eps
    b_p = tl.load(p_p + o, mask=m_i, other=0.0)
    tl.store(p_p + o, b_p - tl.load(p_rate + scene) * (b_m / b_scale), mask=m_i)
