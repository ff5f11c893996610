"""The stage: every subject seen by a judge in the same way, be it an asset or a true shape.

Eight cameras at azimuths 0, 45, ... 315, elevation 30, over one background; for the embedded world
at radius 2.2 with a field of view of 45 (degrees, scene units), 64 x 64 pixels. Colour pictures
show albedo, without light. Geometry pictures are white and lit from the camera's own place:
(ambient .3 + diffuse .7 cos) with cos between the normal and the ray backwards, which needs no
depth. Pictures lie in [0, 1].

Axes: N subjects, V views, K proportions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engine.cameras import Cameras, orbit, rays
from engine.export import lattice, march, occupancy
from engine.export.subject import Subject
from engine.primitives.grammar import Spec
from engine.primitives.truth import FOV_Y_DEG, RADIUS, SHADED, true_views

AZIMUTHS_DEG = (0.0, 45.0, 90.0, 135.0, 180.0, 225.0, 270.0, 315.0)
ELEVATION_DEG = 30.0
SIZE = 64
BACKGROUND = (0.72, 0.78, 0.86)

_LATTICE_SIZE = 96
_SAMPLES = 128
"""Samples a ray, spread over the box around the occupied cells."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """How far away the cameras stand, and how large their pictures are."""

    size: int = SIZE
    radius: float = RADIUS
    fov_deg: float = FOV_Y_DEG


EMBEDDED = Stage()
"""The stage of the embedded world."""


@dataclass(frozen=True, kw_only=True)
class Staged:
    """The pictures of N subjects."""

    colour: Float[Tensor, "N V 3 h w"]
    geometry: Float[Tensor, "N V 3 h w"]
    is_there: Bool[Tensor, "N"]
    """False where there was nothing to show: an asset that failed."""


def cameras(stage: Stage = EMBEDDED) -> Cameras:
    """The eight cameras."""
    azimuth = torch.tensor(AZIMUTHS_DEG)
    return orbit(
        azimuth,
        torch.full_like(azimuth, ELEVATION_DEG),
        torch.full_like(azimuth, stage.radius),
        torch.full_like(azimuth, stage.fov_deg),
        stage.size,
    )


def over_background(
    colour: Float[Tensor, "*b 3 h w"], alpha: Float[Tensor, "*b 1 h w"]
) -> Float[Tensor, "*b 3 h w"]:
    """Straight colours over `BACKGROUND`: alpha c + (1 - alpha) b."""
    return torch.lerp(_behind(colour.device).expand_as(colour), colour, alpha)


def _behind(device: torch.device) -> Float[Tensor, "3 1 1"]:
    return torch.tensor(BACKGROUND, device=device)[:, None, None]


def show_scenes(scenes: Sequence[Subject | None], stage: Stage = EMBEDDED) -> Staged:
    """The pictures of optimised scenes; None is a scene that came to nothing.

    Raises ValueError where a density is not finite.
    """
    device = next((scene.device for scene in scenes if scene is not None), torch.device("cpu"))
    views, pixels = len(AZIMUTHS_DEG), (stage.size, stage.size)
    pictures = _behind(device).expand(len(scenes), 2, views, 3, *pixels).contiguous()
    for row, scene in zip(pictures, scenes, strict=True):
        if scene is not None:
            row.copy_(torch.stack(_show(scene, stage)))
    return Staged(
        colour=pictures[:, 0],
        geometry=pictures[:, 1],
        is_there=torch.tensor([scene is not None for scene in scenes]),
    )


def _show(
    scene: Subject, stage: Stage
) -> tuple[Float[Tensor, "V 3 h w"], Float[Tensor, "V 3 h w"]]:
    """Colour and geometry pictures of one scene."""
    occupied = occupancy.occupied(lattice.sample(scene, _LATTICE_SIZE))
    seen = march.render(scene, occupied, cameras(stage), _SAMPLES)
    alpha = seen.alpha[:, None]
    _, directions = rays(cameras(stage))
    towards = -directions.to(seen.normal)
    cosine = (seen.normal * towards).sum(-1).clamp_min(0.0)
    ambient, diffuse = SHADED
    white = (ambient + diffuse * cosine)[:, None].expand(-1, 3, -1, -1)
    return over_background(seen.albedo.movedim(-1, 1), alpha), over_background(white, alpha)


@torch.no_grad()
def show_true_shapes(specs: Sequence[Spec], proportions: Float[Tensor, "N K"]) -> Staged:
    """The pictures of the world's own shapes in their own colours."""
    found: list[Tensor] = []
    for textureless in (False, True):
        rgba = true_views(
            list(specs),
            proportions,
            torch.tensor(AZIMUTHS_DEG),
            ELEVATION_DEG,
            textureless=textureless,
            size=SIZE,
            device=proportions.device,
        )
        found.append(over_background(rgba[:, :, :3], rgba[:, :, 3:]))
    return Staged(
        colour=found[0],
        geometry=found[1],
        is_there=torch.ones(len(specs), dtype=torch.bool),
    )
