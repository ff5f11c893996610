"""Counter-based random numbers: any number of draws of every scene at once."""

from jaxtyping import Float, Int
from torch import Tensor

from engine import kernels
from engine.kernels.philox import reference

__all__ = ["uniform"]


def uniform(
    seed: Int[Tensor, "S"], step: Int[Tensor, "S"], purpose: int, count: int
) -> Float[Tensor, "S count"]:
    """Draws from [0, 1) with 24 bits: draw i of a scene is word i % 4 of its block i // 4.

    A block is Philox4x32-10 of the counter (block, step, purpose, 0) under the scene's 64-bit seed
    as its key; step and purpose are words of 32 bits, and so is the number of blocks.
    """
    if not kernels.is_fused(seed):
        return reference.uniform(seed, step, purpose, count)
    from engine.kernels.philox import fused

    return fused.uniform(seed, step, purpose, count)
