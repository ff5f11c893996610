"""True shapes seen from given angles: what a judge or a ruler compares a made object with.

Legend: N pictures; B scenes, V views of each. Angles in degrees; pictures are RGBA in [0, 1],
straight alpha.
"""

from collections import defaultdict
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from engine.cameras import Cameras, orbit
from engine.primitives.grammar import Geometry, Spec
from engine.primitives.pictures import palette
from engine.primitives.tracer import CHUNK, Lighting, trace

RADIUS = 2.2
FOV_Y_DEG = 45.0

SHADED = (0.3, 0.7)
"""Ambient and diffuse share of a textureless picture."""


def _lighting(cameras: Cameras, *, textureless: bool) -> Lighting:
    """Albedo alone, or white in the light of a lamp at the camera."""
    one = torch.ones_like(cameras.focal)
    ambient, diffuse = SHADED if textureless else (1.0, 0.0)
    return Lighting(
        position=cameras.c2w[:, :3, 3],
        ambient=ambient * one,
        diffuse=diffuse * one,
        textureless=float(textureless) * one,
    )


def _traced(
    geometry: Geometry,
    proportions: Float[Tensor, "N K"],
    palettes: Float[Tensor, "N slots 3"],
    cameras: Cameras,
    *,
    textureless: bool,
) -> Float[Tensor, "N 4 h w"]:
    found: list[Tensor] = []
    for rows in torch.arange(len(proportions)).split(CHUNK[proportions.device.type]):
        some = slice(int(rows[0]), int(rows[-1]) + 1)
        seen = Cameras(c2w=cameras.c2w[some], focal=cameras.focal[some], size=cameras.size)
        light = _lighting(seen, textureless=textureless)
        traced = trace(geometry, proportions[some], palettes[some], seen, light)
        found.append(torch.cat([traced.colour, traced.alpha[..., None]], dim=-1))
    return torch.cat(found).clamp(0.0, 1.0).permute(0, 3, 1, 2)


@torch.no_grad()
def true_pictures(
    specs: Sequence[Spec],
    proportions: Float[Tensor, "N K"],
    azimuth_deg: Float[Tensor, "N"],
    elevation_deg: Float[Tensor, "N"],
    *,
    textureless: bool,
    size: int = 64,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "N 4 h w"]:
    """A picture of each scene, from `RADIUS` away; those of a geometry are traced together.

    A coloured picture is albedo alone. A textureless one is white, lit from the camera, and does
    not depend on the colours. Deterministic.
    """
    proportions, azimuth, level = (x.to(device) for x in (proportions, azimuth_deg, elevation_deg))
    rgba = torch.empty(len(specs), 4, size, size, device=device)
    rows_of: dict[Geometry, list[int]] = defaultdict(list)
    for row, spec in enumerate(specs):
        rows_of[spec.geometry].append(row)
    for geometry, rows in rows_of.items():
        away = torch.full_like(azimuth[rows], RADIUS)
        cameras = orbit(azimuth[rows], level[rows], away, torch.full_like(away, FOV_Y_DEG), size)
        palettes = torch.tensor([palette(specs[row]) for row in rows], device=device)
        rgba[rows] = _traced(
            geometry, proportions[rows], palettes, cameras, textureless=textureless
        )
    return rgba


def true_views(
    specs: Sequence[Spec],
    proportions: Float[Tensor, "B K"],
    azimuth_deg: Float[Tensor, "V"],
    elevation_deg: float,
    *,
    textureless: bool,
    size: int = 64,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "B V 4 h w"]:
    """Each scene from each azimuth at one elevation, as `true_pictures`."""
    num, views = len(specs), len(azimuth_deg)
    found = true_pictures(
        [spec for spec in specs for _ in range(views)],
        proportions.repeat_interleave(views, dim=0),
        azimuth_deg.repeat(num),
        torch.full((num * views,), elevation_deg),
        textureless=textureless,
        size=size,
        device=device,
    )
    return found.unflatten(0, (num, views))
