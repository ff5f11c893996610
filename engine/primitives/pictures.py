"""The teacher's training pictures: what is drawn, from where, in which light, under which words.

The ranges below are a superset of every embedded recipe's cameras and lights; a test holds the
recipes inside them. They follow DreamFusion (arXiv 2209.14988, 3.2 and A.2), lengths rescaled to an
object that fits a sphere of radius 0.84. Angles in degrees, lengths in scene units.
"""

from collections import Counter
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from engine.cameras import Cameras, focal_of, look_at, orbit_position
from engine.guidance.prompts import view_word, with_view
from engine.primitives.grammar import (
    ACCENTS,
    COLOURS,
    KINDS,
    Spec,
    Split,
    caption,
    colourless_caption,
    specs_of,
)
from engine.primitives.kinds import NUM_PROPORTIONS
from engine.primitives.tracer import Lighting, trace

SIZE = 64
ELEVATION_DEG = (-10.0, 90.0)
"""Half of the draws uniform in angle, half uniform in area."""
RADIUS = (1.8, 2.6)
FOV_Y_DEG = (35.0, 60.0)
POSITION_JITTER = 0.1
"""The camera's position moves by U(-j, j) on each axis."""
TARGET_SPREAD = 0.05
"""Standard deviation of the point looked at."""
UP_SPREAD = 0.02
LIGHT_DISTANCE = (0.8, 1.5)
LIGHT_SPREAD = 1.0
"""Light direction: N(camera position, spread^2 I), normalised."""

ALBEDO_SHARE, TEXTURELESS_SHARE = 0.45, 0.1
SOFT_AMBIENT = (0.3, 0.5)
"""Ambient of half the shaded pictures, diffuse = 1 - ambient; the other half has HARD_AMBIENT."""
HARD_AMBIENT = 0.1

ONE_PIECE_WEIGHT = 0.6
"""How often a kind of one piece is drawn, relative to a kind of two parts."""
ONE_COLOUR_SHARE = 0.2
"""How often an object of two parts wears one colour."""

_CHUNK = {"cuda": 512, "cpu": 2}
"""Pictures traced at once: on the CPU few enough for the cache, on a GPU enough to fill it."""


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Everything random about N pictures, on one device."""

    spec: Int[Tensor, "N"]
    """Index into the split's specs."""
    proportions: Float[Tensor, "N K"]
    azimuth_deg: Float[Tensor, "N"]
    elevation_deg: Float[Tensor, "N"]
    cameras: Cameras
    lighting: Lighting


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Rendered pictures with straight alpha and their captions, view words included."""

    rgba: UInt8[Tensor, "N 4 h w"]
    captions: list[str]
    specs: list[Spec]


def _uniform(count: int, bounds: tuple[float, float], generator: torch.Generator) -> Tensor:
    low, high = bounds
    return low + (high - low) * torch.rand(count, generator=generator, device=generator.device)


def sample_elevation(count: int, generator: torch.Generator) -> Float[Tensor, "N"]:
    """Elevations: half of the draws uniform in angle, half uniform in area (DreamFusion A.2)."""
    by_angle = _uniform(count, ELEVATION_DEG, generator)
    sines = torch.tensor(ELEVATION_DEG).deg2rad().sin().tolist()
    by_area = _uniform(count, (sines[0], sines[1]), generator).clamp(-1, 1).asin().rad2deg()
    coin = torch.rand(count, generator=generator, device=generator.device) < 0.5
    return torch.where(coin, by_angle, by_area)


def sample_cameras(
    azimuth_deg: Float[Tensor, "N"],
    elevation_deg: Float[Tensor, "N"],
    generator: torch.Generator,
    size: int = SIZE,
) -> Cameras:
    """Cameras at the given angles with random distance, field of view, jitter and roll."""
    count, device = len(azimuth_deg), generator.device
    radius = _uniform(count, RADIUS, generator)
    jitter = 2.0 * torch.rand(count, 3, generator=generator, device=device) - 1.0
    position = orbit_position(azimuth_deg, elevation_deg, radius) + POSITION_JITTER * jitter
    target = TARGET_SPREAD * torch.randn(count, 3, generator=generator, device=device)
    up = UP_SPREAD * torch.randn(count, 3, generator=generator, device=device)
    up = up + torch.tensor([0.0, 0.0, 1.0], device=device)
    focal = focal_of(_uniform(count, FOV_Y_DEG, generator), size)
    return Cameras(c2w=look_at(position, target, up), focal=focal, size=size)


def sample_lighting(cameras: Cameras, generator: torch.Generator) -> Lighting:
    """A point light near each camera, and the mix of albedo, shaded and textureless pictures."""
    position = cameras.c2w[:, :3, 3]
    count, device = len(position), generator.device
    noise = LIGHT_SPREAD * torch.randn(count, 3, generator=generator, device=device)
    towards = torch.nn.functional.normalize(position + noise, dim=-1)
    style = torch.rand(count, generator=generator, device=device)
    is_albedo = style < ALBEDO_SHARE
    is_soft = torch.rand(count, generator=generator, device=device) < 0.5
    ambient = torch.where(is_soft, _uniform(count, SOFT_AMBIENT, generator), HARD_AMBIENT)
    ambient = torch.where(is_albedo, 1.0, ambient)
    return Lighting(
        position=towards * _uniform(count, LIGHT_DISTANCE, generator)[:, None],
        ambient=ambient,
        diffuse=1.0 - ambient,
        textureless=(style > 1.0 - TEXTURELESS_SHARE).float(),
    )


def spec_weights(split: Split) -> Float[Tensor, "specs"]:
    """How often each spec of a split is drawn: kinds evenly, then one or two colours."""
    count = Counter((spec.kind, len(spec.colours)) for spec in specs_of(split))
    weights: list[float] = []
    for spec in specs_of(split):
        is_single = len(spec.colours) == 1
        share = ONE_COLOUR_SHARE if is_single else 1.0 - ONE_COLOUR_SHARE
        weight = ONE_PIECE_WEIGHT if ACCENTS[spec.kind] is None else share
        weights.append(weight / count[spec.kind, len(spec.colours)])
    return torch.tensor(weights)


def sample_draws(
    count: int, seed: int, device: torch.device | str, split: Split = "train", size: int = SIZE
) -> Draws:
    """Everything random about `count` pictures of one split; a pure function of the seed."""
    generator = torch.Generator(device=device).manual_seed(seed)
    azimuth = _uniform(count, (0.0, 360.0), generator)
    elevation = sample_elevation(count, generator)
    cameras = sample_cameras(azimuth, elevation, generator, size)
    return Draws(
        spec=spec_weights(split)
        .to(device)
        .multinomial(count, replacement=True, generator=generator),
        proportions=torch.rand(count, NUM_PROPORTIONS, generator=generator, device=device),
        azimuth_deg=azimuth,
        elevation_deg=elevation,
        cameras=cameras,
        lighting=sample_lighting(cameras, generator),
    )


def palette(spec: Spec) -> list[tuple[float, float, float]]:
    """Albedo of the main part and of the accent; the same twice for a one-coloured object."""
    return [COLOURS[spec.colours[0]], COLOURS[spec.colours[-1]]]


def _draw_some(
    kind: str, draws: Draws, palettes: Float[Tensor, "N 2 3"], rows: Int[Tensor, "n"]
) -> UInt8[Tensor, "n 4 h w"]:
    lights, cameras = draws.lighting, draws.cameras
    traced = trace(
        kind,
        draws.proportions[rows],
        palettes[rows],
        Cameras(c2w=cameras.c2w[rows], focal=cameras.focal[rows], size=cameras.size),
        Lighting(
            position=lights.position[rows],
            ambient=lights.ambient[rows],
            diffuse=lights.diffuse[rows],
            textureless=lights.textureless[rows],
        ),
    )
    rgba = torch.cat([traced.colour, traced.alpha[..., None]], dim=-1)
    return (rgba.clamp(0, 1) * 255.0).round().to(torch.uint8).permute(0, 3, 1, 2)


def _captions(draws: Draws, specs: list[Spec]) -> list[str]:
    """Each picture's words; of four textureless pictures three lose their colours.

    A coloured caption over a white object is a lie that score distillation may tell itself (its
    textureless views), so it is in the training set; but a rare one, lest grey become a safe guess.
    """
    azimuth, elevation = draws.azimuth_deg.tolist(), draws.elevation_deg.tolist()
    textureless = draws.lighting.textureless.tolist()
    found: list[str] = []
    for row, spec in enumerate(specs):
        is_plain = textureless[row] > 0 and row % 4 != 0
        words = colourless_caption(spec) if is_plain else caption(spec)
        found.append(with_view(words, view_word(azimuth[row], elevation[row])))
    return found


@torch.no_grad()
def render(draws: Draws, split: Split = "train") -> Pictures:
    """Draw the pictures, kind by kind in chunks that fit the device's cache."""
    choice, device = specs_of(split), draws.spec.device
    specs = [choice[index] for index in draws.spec.tolist()]
    palettes = torch.tensor([palette(spec) for spec in specs], device=device)
    kinds = torch.tensor([KINDS.index(spec.kind) for spec in specs], device=device)
    size = draws.cameras.size
    rgba = torch.empty(len(specs), 4, size, size, dtype=torch.uint8, device=device)
    for number, kind in enumerate(KINDS):
        for rows in (kinds == number).nonzero()[:, 0].split(_CHUNK.get(device.type, 2)):
            if len(rows):
                rgba[rows] = _draw_some(kind, draws, palettes, rows)
    return Pictures(rgba=rgba, captions=_captions(draws, specs), specs=specs)


def render_pictures(
    count: int,
    seed: int,
    device: torch.device | str = "cpu",
    split: Split = "train",
    size: int = SIZE,
) -> Pictures:
    """`count` random pictures of a split; a pure function of the seed on one device."""
    return render(sample_draws(count, seed, device, split, size), split)
