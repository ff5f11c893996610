"""`engine.kernels.philox` in plain torch. Axes: S scenes; words are 32-bit values held in int64."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_MASK = 0xFFFFFFFF


def philox_4x32(
    counter: tuple[Int[Tensor, "*#b"], ...], key: tuple[Int[Tensor, "*#b"], ...]
) -> tuple[Int[Tensor, "*#b"], ...]:
    """Ten rounds of Philox on four counter words and two key words, which broadcast."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        # A 64-bit product of 32-bit words wraps into the sign bit; shift and mask undo that.
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((p1 >> 32) & _MASK) ^ c1 ^ k0,
            p1 & _MASK,
            ((p0 >> 32) & _MASK) ^ c3 ^ k1,
            p0 & _MASK,
        )
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def uniform(
    seed: Int[Tensor, "S"], step: Int[Tensor, "S"], purpose: int, count: int
) -> Float[Tensor, "S count"]:
    """See the package."""
    block = torch.arange((count + 3) // 4, device=seed.device)[None]
    key = (seed[:, None] & _MASK, (seed[:, None] >> 32) & _MASK)
    counter = (block, step[:, None] & _MASK, torch.full_like(block, purpose), block * 0)
    words = torch.stack(philox_4x32(counter, key), dim=-1).flatten(1)[:, :count]
    return (words >> 8).to(torch.float32) * 2.0**-24
