"""The teacher's training pictures: what is drawn, from where, in which light, under which words.

The ranges below are a superset of every embedded recipe's cameras and lights; a test holds the
recipes inside them. They follow DreamFusion (arXiv 2209.14988, 3.2 and A.2), lengths rescaled to an
object that fits a sphere of radius 0.84. Angles in degrees, lengths in scene units.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from engine.cameras import Cameras, focal_of, look_at, orbit_position
from engine.guidance.prompts import view_word, with_view
from engine.primitives.captions import colourless_forms, forms
from engine.primitives.grammar import COLOURS, Geometry, Spec, geometries, specs
from engine.primitives.kinds import NUM_PROPORTIONS
from engine.primitives.splits import Split, probabilities, specs_of
from engine.primitives.tracer import CHUNK, Lighting, trace

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

CANONICAL_SHARE = 0.5
"""How often a caption has its canonical form; else any of the others, evenly."""
VIEW_SHARE = 0.85
"""How often a caption says from where the camera looks."""
COLOURLESS_SHARE = 0.97
"""How often the caption of a textureless picture names no colour."""


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Everything random about N pictures, on one device."""

    spec: Int[Tensor, "N"]
    """Index into the specs drawn from, those of `_choice`."""
    proportions: Float[Tensor, "N K"]
    azimuth_deg: Float[Tensor, "N"]
    elevation_deg: Float[Tensor, "N"]
    cameras: Cameras
    lighting: Lighting
    wording: Float[Tensor, "N 3"]
    """Uniform draws that choose the caption: its form, its view word, whether it names colours."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Rendered pictures with straight alpha, and the words over them."""

    rgba: UInt8[Tensor, "N 4 h w"]
    captions: list[str]
    """Any form of the scene's caption, most with a view word."""
    specs: list[Spec]
    azimuth_deg: Float[Tensor, "N"]
    elevation_deg: Float[Tensor, "N"]
    is_textureless: Bool[Tensor, "N"]
    """Whether the picture shows the shape in white."""


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


def _choice(split: Split | None) -> tuple[Spec, ...]:
    return specs() if split is None else specs_of(split)


def sample_draws(
    count: int,
    seed: int,
    device: torch.device | str,
    split: Split | None = "train",
    size: int = SIZE,
) -> Draws:
    """Everything random about `count` pictures of one split; a pure function of the seed."""
    generator = torch.Generator(device=device).manual_seed(seed)
    azimuth = _uniform(count, (0.0, 360.0), generator)
    elevation = sample_elevation(count, generator)
    cameras = sample_cameras(azimuth, elevation, generator, size)
    weights = torch.tensor(probabilities(split), device=device)
    return Draws(
        spec=weights.multinomial(count, replacement=True, generator=generator),
        proportions=torch.rand(count, NUM_PROPORTIONS, generator=generator, device=device),
        azimuth_deg=azimuth,
        elevation_deg=elevation,
        cameras=cameras,
        lighting=sample_lighting(cameras, generator),
        wording=torch.rand(count, 3, generator=generator, device=device),
    )


def palette(spec: Spec) -> list[tuple[float, float, float]]:
    """Albedo of each slot of the scene's geometry."""
    return [COLOURS[colour] for colour in spec.slot_colours]


def _draw_some(
    geometry: Geometry,
    draws: Draws,
    palettes: Float[Tensor, "n slots 3"],
    rows: Int[Tensor, "n"],
) -> UInt8[Tensor, "n 4 h w"]:
    lights, cameras = draws.lighting, draws.cameras
    traced = trace(
        geometry,
        draws.proportions[rows],
        palettes,
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


def _worded(found: tuple[str, ...], draw: float) -> str:
    """One of several forms: the first for `CANONICAL_SHARE` of draws in [0, 1), else any other."""
    if draw < CANONICAL_SHARE:
        return found[0]
    rest = (draw - CANONICAL_SHARE) / (1.0 - CANONICAL_SHARE)
    return found[1 + int(rest * (len(found) - 1))]


def _captions(draws: Draws, drawn: list[Spec]) -> Iterator[str]:
    """Each picture's words; nearly all textureless pictures lose their colours.

    A coloured caption over a white object is a lie that score distillation may tell itself (its
    textureless views), so it is in the training set; but a rare one, lest grey become a safe guess.
    """
    azimuth, elevation = draws.azimuth_deg.tolist(), draws.elevation_deg.tolist()
    textureless = draws.lighting.textureless.tolist()
    for row, (form, view, colours) in enumerate(draws.wording.tolist()):
        spec = drawn[row]
        is_colourless = textureless[row] > 0 and colours < COLOURLESS_SHARE
        found = colourless_forms(spec.geometry) if is_colourless else forms(spec)
        words = _worded(found, form)
        if view < VIEW_SHARE:
            words = with_view(words, view_word(azimuth[row], elevation[row]))
        yield words


def _rows_by_geometry(drawn: list[Spec]) -> dict[Geometry, list[int]]:
    found: dict[Geometry, list[int]] = {geometry: [] for geometry in geometries()}
    for row, spec in enumerate(drawn):
        found[spec.geometry].append(row)
    return found


@torch.no_grad()
def render(draws: Draws, split: Split | None = "train") -> Pictures:
    """Draw the pictures, geometry by geometry in chunks that fit the device."""
    choice, device = _choice(split), draws.spec.device
    drawn = [choice[index] for index in draws.spec.tolist()]
    size = draws.cameras.size
    rgba = torch.empty(len(drawn), 4, size, size, dtype=torch.uint8, device=device)
    for geometry, rows in _rows_by_geometry(drawn).items():
        if not rows:
            continue
        palettes = torch.tensor([palette(drawn[row]) for row in rows], device=device)
        chunk = CHUNK[device.type]
        index = torch.tensor(rows, device=device)
        for some, wears in zip(index.split(chunk), palettes.split(chunk), strict=True):
            rgba[some] = _draw_some(geometry, draws, wears, some)
    return Pictures(
        rgba=rgba,
        captions=list(_captions(draws, drawn)),
        specs=drawn,
        azimuth_deg=draws.azimuth_deg,
        elevation_deg=draws.elevation_deg,
        is_textureless=draws.lighting.textureless > 0,
    )


def render_pictures(
    count: int,
    seed: int,
    device: torch.device | str = "cpu",
    split: Split | None = "train",
    size: int = SIZE,
) -> Pictures:
    """`count` random pictures of a split, of all splits for None; pure in the seed on one device.

    Rendered at `size` x `size` pixels, scenes as often as `splits.probabilities` says.
    """
    return render(sample_draws(count, seed, device, split, size), split)


def render_in_batches(
    count: int,
    batch: int,
    seed: int,
    device: torch.device | str,
    split: Split | None = "train",
    size: int = SIZE,
) -> Pictures:
    """`count` random pictures of a split, `batch` at a time; batch k has the seed `seed` + k."""
    parts = [
        render_pictures(min(batch, count - first), seed + first // batch, device, split, size)
        for first in range(0, count, batch)
    ]
    return Pictures(
        rgba=torch.cat([part.rgba for part in parts]),
        captions=[text for part in parts for text in part.captions],
        specs=[spec for part in parts for spec in part.specs],
        azimuth_deg=torch.cat([part.azimuth_deg for part in parts]),
        elevation_deg=torch.cat([part.elevation_deg for part in parts]),
        is_textureless=torch.cat([part.is_textureless for part in parts]),
    )
