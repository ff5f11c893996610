"""Counter-based random numbers: every draw is a pure function of (seed, step, purpose, index).

Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). The key is
the scene's 64-bit seed; the counter is (block, step, purpose, 0), and a block yields four 32-bit
words. No generator state exists, so a scene draws the same numbers whatever its neighbours, its
slot or its history; a resumed scene continues exactly.

Axes: S scenes; words are 32-bit values held in int64.
"""

import math
from enum import IntEnum

import torch
from jaxtyping import Float, Int
from torch import Tensor

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_MASK = 0xFFFFFFFF


class Purpose(IntEnum):
    """What a draw is for; a number is never used for two ends."""

    INITIAL = 0
    VIEWPOINT = 1
    JITTER = 2
    LIGHT = 3
    SHADING = 4
    BACKGROUND = 5
    STRATUM = 6
    TIME = 7
    NOISE = 8
    OCCUPANCY = 9
    AIM = 10
    ENVIRONMENT = 11
    PLAIN_BACKGROUND = 12


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
    seed: Int[Tensor, "S"], step: Int[Tensor, "S"], purpose: Purpose, shape: tuple[int, ...]
) -> Float[Tensor, "S ..."]:
    """Draws from [0, 1) with 24 bits, one array of `shape` a scene."""
    count = math.prod(shape)
    block = torch.arange((count + 3) // 4, device=seed.device)[None]
    key = (seed[:, None] & _MASK, (seed[:, None] >> 32) & _MASK)
    counter = (block, step[:, None] & _MASK, torch.full_like(block, int(purpose)), block * 0)
    words = torch.stack(philox_4x32(counter, key), dim=-1).flatten(1)[:, :count]
    return ((words >> 8).to(torch.float32) * 2.0**-24).view(-1, *shape)


def normal(
    seed: Int[Tensor, "S"], step: Int[Tensor, "S"], purpose: Purpose, shape: tuple[int, ...]
) -> Float[Tensor, "S ..."]:
    """Standard normal draws by the Box-Muller transform, one array of `shape` a scene."""
    count = math.prod(shape)
    pairs = (count + 1) // 2
    u = uniform(seed, step, purpose, (2, pairs))
    # 1 - u lies in (0, 1], which keeps the logarithm finite.
    length = torch.sqrt(-2.0 * torch.log(1.0 - u[:, 0]))
    angle = (2.0 * math.pi) * u[:, 1]
    both = torch.cat([length * angle.cos(), length * angle.sin()], dim=1)
    return both[:, :count].reshape(-1, *shape)
