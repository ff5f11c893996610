"""`engine.kernels.philox` in Triton: a thread makes whole blocks, and nothing else is written.

S scenes; README.md says what bounds it.
"""

# pyright: reportArgumentType=false

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

_TILE = 512
"""Blocks of four draws that a program makes."""


def uniform(
    seed: Int[Tensor, "S"], step: Int[Tensor, "S"], purpose: int, count: int
) -> Float[Tensor, "S count"]:
    """See the package."""
    draws = torch.empty(len(seed), count, device=seed.device)
    if draws.numel() > 0:
        grid = (triton.cdiv(count, 4 * _TILE), len(seed))
        uniform_kernel[grid](seed.contiguous(), step.contiguous(), draws, purpose, count, BC=_TILE)
    return draws


# One kernel for all purposes: a purpose of 1 is no reason to compile another.
@triton.jit(do_not_specialize=["purpose"])
@no_type_check
def uniform_kernel(p_seed, p_step, p_draws, purpose, count, BC: tl.constexpr):
    s = tl.program_id(1)
    o_block = tl.program_id(0) * BC + tl.arange(0, BC)
    zero = o_block * 0
    step = (tl.load(p_step + s) & 0xFFFFFFFF).to(tl.uint32).to(tl.int32, bitcast=True)
    b_0, b_1, b_2, b_3 = tl.philox(
        tl.load(p_seed + s), o_block, zero + step, zero + purpose.to(tl.int32), zero
    )
    # Joined in pairs so that the last axes run through the four words in their order.
    b_word = tl.join(tl.join(b_0, b_2), tl.join(b_1, b_3)).reshape(4 * BC)
    o = tl.program_id(0) * (4 * BC) + tl.arange(0, 4 * BC)
    b_draw = (b_word.to(tl.uint32, bitcast=True) >> 8).to(tl.float32) * (1.0 / 16777216.0)
    tl.store(p_draws + s.to(tl.int64) * count + o, b_draw, mask=o < count)
