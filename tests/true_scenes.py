"""Fields of the embedded world's true shapes: what a perfect optimisation would find."""

import torch
from torch import Tensor

from engine.configs.fields import DenseGridConfig
from engine.primitives.grammar import Spec
from engine.primitives.kinds import NUM_PROPORTIONS, distances
from engine.primitives.pictures import palette
from engine.scene import Scene

PEAK = 60.0
"""Density inside, per scene unit."""


def true_scene(spec: Spec, *, size: int = 48, is_janus: bool = False) -> Scene:
    """A dense grid of `size` points a side with the scene of middling proportions in its colours.
    With `is_janus` its back is a second front: its front half mirrored at the plane x = 0."""
    axis = torch.linspace(-1.0, 1.0, size)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x.abs() if is_janus else x, y, z], dim=-1).reshape(1, -1, 3)
    gaps = distances(spec.geometry, points, torch.full((1, NUM_PROPORTIONS), 0.5))[0]
    inside = (-gaps.amin(dim=-1) * size).clamp(-1.0, 1.0)
    colours = torch.tensor(palette(spec))[gaps.argmin(dim=-1)].clamp(0.01, 0.99)
    raw = torch.cat([PEAK * inside[:, None], torch.logit(colours)], dim=-1)
    config = DenseGridConfig(resolutions=(size,), density_gain=1.0, blob_density=0.0)
    return Scene(config, {f"grid{size}": _as_grid(raw, size)})


def _as_grid(raw: Tensor, size: int) -> Tensor:
    """Axes S C Z Y X."""
    return raw.reshape(size, size, size, 4).permute(3, 0, 1, 2)[None].contiguous()
