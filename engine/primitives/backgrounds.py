"""What stands behind a training picture: one colour, a vertical gradient, or noise.

Shapes and control flow do not depend on data, so a CUDA graph can capture it.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

SHARES = {"colour": 0.3, "grey": 0.3, "gradient": 0.25, "noise": 0.15}
"""How often each background is drawn; "grey" is any shade, a third of them black or white."""

NOISE_SPREAD = (0.02, 0.3)
"""Standard deviation of noise backgrounds, in units of the colour range [0, 1]."""


def _greys(count: int, device: torch.device) -> Float[Tensor, "B 1 1 1"]:
    """Shades of grey with black and white drawn a sixth of the time each."""
    shade = torch.rand(count, 1, 1, 1, device=device) * 1.5 - 0.25
    return shade.clamp(0.0, 1.0)


def sample_backgrounds(count: int, size: int, device: torch.device) -> Float[Tensor, "B 3 h w"]:
    """Random backgrounds in [0, 1] from the default generator of the device."""
    top = torch.rand(count, 3, 1, 1, device=device)
    bottom = torch.rand(count, 3, 1, 1, device=device)
    height = torch.linspace(0.0, 1.0, size, device=device)[:, None]
    gradient = top + (bottom - top) * height
    spread = torch.rand(count, 1, 1, 1, device=device)
    spread = NOISE_SPREAD[0] + (NOISE_SPREAD[1] - NOISE_SPREAD[0]) * spread
    noise = top + spread * torch.randn(count, 3, size, size, device=device)
    style = torch.rand(count, 1, 1, 1, device=device)
    colour, grey, steep = SHARES["colour"], SHARES["grey"], SHARES["gradient"]
    found = torch.where(style < colour, top, _greys(count, device))
    found = torch.where(style < colour + grey, found, gradient)
    found = torch.where(style < colour + grey + steep, found, noise)
    return found.clamp(0.0, 1.0)


def composite(rgba: UInt8[Tensor, "B 4 h w"]) -> Float[Tensor, "B 3 h w"]:
    """Pictures in [-1, 1] over random backgrounds: alpha c + (1 - alpha) b."""
    values = rgba.float() / 255.0
    colour, alpha = values[:, :3], values[:, 3:]
    behind = sample_backgrounds(len(rgba), rgba.shape[-1], rgba.device)
    return 2.0 * (behind + alpha * (colour - behind)) - 1.0
