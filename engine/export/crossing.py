"""Where between two points the density crosses a level."""

import torch
from jaxtyping import Float
from torch import Tensor

from engine.export.subject import Subject, density_at

_BISECTIONS = 6


def crossing(
    scene: Subject, outside: Float[Tensor, "K 3"], inside: Float[Tensor, "K 3"], level: float
) -> Float[Tensor, "K"]:
    """Share of the way from a point at or below the level to one above it, to 1/128."""
    low, high = (torch.full_like(outside[:, 0], share) for share in (0.0, 1.0))
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        is_above = density_at(scene, torch.lerp(outside, inside, middle[:, None])) > level
        low, high = torch.where(is_above, low, middle), torch.where(is_above, middle, high)
    return 0.5 * (low + high)
