"""What a ray sees that enters a surface against its normal.

At the surface itself the views see through to what lies a little deeper, so a colour is composited
over a skin of `_CELLS` lattice cells that starts one cell outside. The last sample is made opaque.

A texture has too many texels to ask for that everywhere. How light is lost along the normal changes
little between the vertices of a fine mesh, so it is measured there alone: of the light that enters
at a vertex, the parts 1/2K, 3/2K, ... are gone at K depths, and a texel's colour is the mean of the
albedo at the K places that lie between those of its triangle's corners.

Axes: V vertices, N samples along a normal, K shells.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from engine.export.subject import Subject, albedo_at, density_at
from engine.volume import accumulate, composite

SHELLS = 4
_CELLS = 4.0
_SAMPLES = 16


def colours(
    scene: Subject,
    vertices: Float[np.ndarray, "V 3"],
    normals: Float[np.ndarray, "V 3"],
    spacing: float,
) -> Float[np.ndarray, "V 3"]:
    """Albedo seen at each vertex; `spacing` is a cell's side."""
    x, weights = _march(scene, vertices, normals, spacing)
    return accumulate(weights, albedo_at(scene, x)).cpu().numpy().astype(np.float64)


def shells(
    scene: Subject,
    vertices: Float[np.ndarray, "V 3"],
    normals: Float[np.ndarray, "V 3"],
    spacing: float,
) -> Float[Tensor, "V K 3"]:
    """Places below each vertex whose mean albedo is about `colours`."""
    x, weights = _march(scene, vertices, normals, spacing)
    lost = weights.cumsum(dim=-1)
    parts = (torch.arange(SHELLS, device=lost.device) + 0.5) / SHELLS
    parts = parts.expand(len(lost), -1).contiguous()
    sample = torch.searchsorted(lost, parts).clamp_max(_SAMPLES - 1)
    share = 1.0 - (lost.gather(1, sample) - parts) / weights.gather(1, sample).clamp_min(1e-12)
    # A sample stands for the interval around it.
    steps = (sample + share.clamp(0.0, 1.0) - 0.5)[..., None]
    return x[:, :1] + steps * (x[:, 1] - x[:, 0])[:, None]


def _march(
    scene: Subject,
    vertices: Float[np.ndarray, "V 3"],
    normals: Float[np.ndarray, "V 3"],
    spacing: float,
) -> tuple[Float[Tensor, "V N 3"], Float[Tensor, "V N"]]:
    """Samples along the normals, from outside in, and their weights, which sum to 1."""
    delta = _CELLS * spacing / _SAMPLES
    depth = (torch.arange(_SAMPLES) + 0.5) * delta - spacing
    start, inward = (torch.from_numpy(x).float() for x in (vertices, -normals))
    x = (start[:, None] + depth[:, None] * inward[:, None]).to(scene.device)
    sigma = density_at(scene, x)
    sigma[:, -1] = 1e6
    return x, composite(sigma, torch.full_like(sigma, delta))
