"""Counter-based random numbers: every draw is a pure function of (seed, step, purpose, index).

Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), whose blocks
`engine.kernels.philox` makes. No generator state exists, so a scene draws the same numbers whatever
its neighbours, its slot or its history; a resumed scene continues exactly.

Axes: S scenes.
"""

import math
from enum import IntEnum

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.kernels import philox as kernel


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


def uniform(
    seed: Int[Tensor, "S"], step: Int[Tensor, "S"], purpose: Purpose, shape: tuple[int, ...]
) -> Float[Tensor, "S ..."]:
    """Draws from [0, 1) with 24 bits, one array of `shape` a scene."""
    return kernel.uniform(seed, step, int(purpose), math.prod(shape)).view(-1, *shape)


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
