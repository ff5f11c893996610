"""What a judge must see through: true renders made to look like what score distillation leaves.

Legend: B pictures of size n x n, RGBA with colours multiplied by alpha, K floaters. About 0.3 of
the pictures stay as they are; each fault befalls a share of the others, at a random strength.
Shapes and control flow do not depend on data, so the device is never waited for.
"""

from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from engine.evaluation.stage import BACKGROUND
from engine.primitives.backgrounds import sample_backgrounds

PLAIN_SHARE = 0.3
"""Pictures without any fault."""
BACKGROUND_SHARE = 0.5
"""Pictures over the stage's background; the others over whatever the teacher's pictures have."""

ZOOM, SHIFT, TURN, BEND = 0.15, 0.08, 0.1, 0.04
"""Largest change of scale (as a share), of place (of the half width), of angle (radians), and the
spread of a smooth displacement on a grid of 5 x 5 (of the half width)."""
BLUR = 1.6
"""Largest Gaussian blur, standard deviation in pixels of a picture of 64."""
SIZES = (16, 20, 24, 32, 40, 48)
"""Sizes from which a picture is brought back, out of 64."""
FADE = 0.35
"""Largest loss of alpha."""
MOTTLE = 0.12
"""Largest spread of smooth spots of colour on a surface."""
GAIN, SATURATION = 0.12, 0.5
"""Largest change of each channel, and of the distance from grey."""
NOISE = 0.06
FLOATERS = 3
"""Soft blobs behind the object, and again before it."""
FLOATER_SPREAD = (0.04, 0.3)
"""Their standard deviations, in shares of the width."""
FLOATER_ALPHA = (0.8, 0.45)
"""Largest alpha of those behind and of those before."""

_LUMA = (0.299, 0.587, 0.114)


@cache
def _constant(values: tuple[float, ...], device: torch.device) -> Float[Tensor, "c 1 1"]:
    """Values of each channel; kept, for to send them is to wait for the device."""
    return torch.tensor(values, device=device)[:, None, None]


def _strength(can: Float[Tensor, "B"], share: float) -> Float[Tensor, "B"]:
    """A fault's strength: 0 where `can` is 0 or the fault stays away, else U(0, 1)."""
    here = torch.rand_like(can) < share
    return can * here * torch.rand_like(can)


def _signed(can: Float[Tensor, "B"], share: float, *shape: int) -> Float[Tensor, "B ..."]:
    """U(-1, 1) times the strength, one value each of the trailing shape."""
    strength = _strength(can, share).reshape(-1, *(1 for _ in shape))
    return strength * (2.0 * torch.rand(len(can), *shape, device=can.device) - 1.0)


def warp(rgba: Float[Tensor, "B 4 n n"], can: Float[Tensor, "B"]) -> Float[Tensor, "B 4 n n"]:
    """Scaled, moved, turned and bent a little."""
    count, size = len(rgba), rgba.shape[-1]
    move = _signed(can, 0.5, 4)
    scale = 1.0 + ZOOM * move[:, 0]
    angle = TURN * move[:, 3]
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    top = torch.stack([cosine, -sine, SHIFT * move[:, 1]], dim=1)
    bottom = torch.stack([sine, cosine, SHIFT * move[:, 2]], dim=1)
    grid = F.affine_grid(torch.stack([top, bottom], dim=1), [count, 4, size, size], False)
    bend = BEND * _strength(can, 0.4)[:, None, None, None]
    bend = bend * torch.randn(count, 2, 5, 5, device=can.device)
    bend = F.interpolate(bend, size=(size, size), mode="bicubic", align_corners=True)
    return F.grid_sample(rgba, grid + bend.movedim(1, -1), align_corners=False)


@cache
def _resamplers(size: int, device: torch.device) -> Float[Tensor, "S n n"]:
    """One matrix a size that brings a line down to it and back; the last leaves it alone."""
    whole = torch.eye(size, device=device)[:, None]
    found: list[Tensor] = []
    for share in SIZES:
        small = F.interpolate(whole, size=max(2, round(share * size / 64)), mode="area")
        found.append(F.interpolate(small, size=size, mode="linear")[:, 0].T)
    return torch.stack([*found, whole[:, 0]])


def soften(rgba: Float[Tensor, "B 4 n n"], can: Float[Tensor, "B"]) -> Float[Tensor, "B 4 n n"]:
    """Blurred, and as if rendered at a lower resolution: L x L^T with one matrix L a picture."""
    count, size = len(rgba), rgba.shape[-1]
    place = torch.arange(size, device=can.device)
    apart = (place[:, None] - place).square()
    sigma = 1e-2 + BLUR * size / 64 * _strength(can, 0.5)
    blur = (-0.5 * apart / sigma[:, None, None].square()).softmax(dim=-1)
    chosen = torch.randint(len(SIZES), (count,), device=can.device)
    coarse = torch.where(_strength(can, 0.5) > 0, chosen, len(SIZES))
    lines = (_resamplers(size, can.device)[coarse] @ blur)[:, None]
    return lines @ rgba @ lines.mT


def recolour(
    rgba: Float[Tensor, "B 4 n n"], can: Float[Tensor, "B"], is_textureless: Bool[Tensor, "B"]
) -> Float[Tensor, "B 4 n n"]:
    """Spotted, brighter or darker, more or less saturated, and fainter.

    A textureless picture stays grey: whatever colour it got would have no meaning.
    """
    count, size = len(rgba), rgba.shape[-1]
    gain = 1.0 + GAIN * _signed(can, 0.5, 3, 1, 1)
    spots = MOTTLE * _strength(can, 0.4)[:, None, None, None]
    spots = spots * torch.randn(count, 3, 8, 8, device=can.device)
    gain = gain + F.interpolate(spots, size=(size, size), mode="bilinear")
    gain = torch.where(is_textureless[:, None, None, None], gain[:, :1], gain)
    alpha = rgba[:, 3:]
    colour = rgba[:, :3]
    luma = (colour * _constant(_LUMA, can.device)).sum(1, keepdim=True)
    colour = luma + (1.0 + SATURATION * _signed(can, 0.5, 1, 1, 1)) * (colour - luma)
    colour = torch.minimum((gain * colour).clamp_min(0.0), alpha)
    faint = 1.0 - FADE * _strength(can, 0.4)[:, None, None, None]
    return faint * torch.cat([colour, alpha], dim=1)


def add_floaters(
    scene: Float[Tensor, "B 3 n n"],
    can: Float[Tensor, "B"],
    is_textureless: Bool[Tensor, "B"],
    alpha: float,
) -> Float[Tensor, "B 3 n n"]:
    """Soft blobs of any colour over a scene, grey ones over a textureless scene."""
    count, size = len(scene), scene.shape[-1]
    across = torch.linspace(0.0, 1.0, size, device=scene.device)
    low, high = FLOATER_SPREAD
    present = (torch.rand_like(can) < 0.4) * can
    for _ in range(FLOATERS):
        centre, spread = torch.rand(2, count, 2, 1, device=scene.device).unbind(0)
        spread = low + (high - low) * spread.square()
        x, y = (-0.5 * ((across - centre) / spread).square()).exp().unbind(1)
        thick = alpha * present * torch.rand_like(can)
        cover = thick[:, None, None, None] * (y[:, :, None] * x[:, None, :])[:, None]
        colour = torch.rand(count, 3, 1, 1, device=scene.device)
        colour = torch.where(is_textureless[:, None, None, None], colour[:, :1], colour)
        scene = scene + cover * (colour - scene)
    return scene


def degrade(
    rgba: UInt8[Tensor, "B 4 n n"], is_textureless: Bool[Tensor, "B"]
) -> Float[Tensor, "B 3 n n"]:
    """Pictures in [0, 1] as a judge meets them in training; straight alpha goes in.

    Randomness is the default generator's of the device.
    """
    count, size, device = len(rgba), rgba.shape[-1], rgba.device
    can = (torch.rand(count, device=device) >= PLAIN_SHARE).float()
    values = rgba.float() / 255.0
    picture = torch.cat([values[:, :3] * values[:, 3:], values[:, 3:]], dim=1)
    picture = recolour(soften(warp(picture, can), can), can, is_textureless)
    is_fixed = torch.rand(count, 1, 1, 1, device=device) < BACKGROUND_SHARE
    scene = sample_backgrounds(count, size, device)
    scene = torch.where(is_fixed, _constant(BACKGROUND, device), scene)
    scene = add_floaters(scene, can, is_textureless, FLOATER_ALPHA[0])
    scene = picture[:, :3] + (1.0 - picture[:, 3:]) * scene
    scene = add_floaters(scene, can, is_textureless, FLOATER_ALPHA[1])
    grain = NOISE * _strength(can, 0.4)[:, None, None, None]
    return (scene + grain * torch.randn_like(scene)).clamp(0.0, 1.0)
