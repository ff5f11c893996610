"""Lambertian shading by one point light (DreamFusion, arXiv 2209.14988, section 3.2).

Axes: b any, l position of the light, n unit normal, rho albedo. Light intensities are data, so that
albedo only (ambient 1, diffuse 0), lit and textureless (rho = 1) views share one computation.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def lambertian(
    albedo: Float[Tensor, "*b 3"],
    normal: Float[Tensor, "*b 3"],
    x: Float[Tensor, "*b 3"],
    light: Float[Tensor, "*b 3"],
    ambient: Float[Tensor, "*b"],
    diffuse: Float[Tensor, "*b"],
    is_textureless: Float[Tensor, "*b"],
) -> Float[Tensor, "*b 3"]:
    """Colour c = rho (ambient + diffuse max(0, n . (l - x) / |l - x|))."""
    cosine = (normal * F.normalize(light - x, dim=-1)).sum(-1).clamp(min=0.0)
    rho = torch.lerp(albedo, torch.ones_like(albedo), is_textureless[..., None])
    return rho * (ambient + diffuse * cosine)[..., None]
