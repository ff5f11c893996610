"""Whether a picture shows its view word: which side of the true shape it resembles most.

A judge has learnt to pass over the view words of captions, so it is asked with pictures. A scene's
true shapes, seen as a view word says, make that word's reference: their unit mean embedding. A
picture shows the word whose reference has the highest cosine. Many objects look alike from several
sides, so a figure means no more than its ceiling: the same asked of other true shapes of the scene,
from anywhere that has the word, as often as training pictures are taken from there. They share the
references' background, light and distance, which a model's do not: a gap is not the view's alone.

Legend: N scenes, W view words in the order of `VIEWS`, V views, D features, K proportions. Angles
in degrees.
"""

import math
import random
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engine.evaluation.lexicon import Lexicon
from engine.evaluation.stage import SIZE, over_background
from engine.guidance.prompts import VIEWS, view_word
from engine.primitives.grammar import Spec
from engine.primitives.kinds import NUM_PROPORTIONS
from engine.primitives.pictures import ELEVATION_DEG
from engine.primitives.truth import true_pictures

MOST_SCENES = 128
"""Scenes that are asked about, the first ones: to render their references takes time on a CPU."""

TYPICAL_DEG: Mapping[str, tuple[tuple[float, ...], float]] = {
    "front view": ((-25.0, 0.0, 25.0), 20.0),
    "side view": ((65.0, 90.0, 115.0, 245.0, 270.0, 295.0), 20.0),
    "back view": ((155.0, 180.0, 205.0), 20.0),
    "overhead view": ((0.0, 90.0, 180.0, 270.0), 75.0),
}
"""Azimuths and elevation of the cameras of each word's reference."""

_NUM_SHAPES = 2
"""Shapes of a scene, of sampled proportions, behind a reference."""
_SEED = 11


def judged(
    pictures: Float[Tensor, "N W 3 h w"], specs: Sequence[Spec], lexicon: Lexicon
) -> tuple[list[bool | None], list[bool | None]]:
    """Whether each picture shows its view word; the same of true shapes. None is not asked.

    Picture by picture, all of a scene's together.
    """
    asked, device = list(specs[:MOST_SCENES]), pictures.device
    known = references(asked, lexicon, device)
    right = are_shown(pictures[:MOST_SCENES], known, lexicon)
    ceiling = are_shown(any_views(asked, device), known, lexicon)
    rest = [None] * (len(VIEWS) * (len(specs) - len(asked)))
    return right.flatten().tolist() + rest, ceiling.flatten().tolist() + rest


def are_shown(
    pictures: Float[Tensor, "N W 3 h w"], known: Float[Tensor, "N W D"], lexicon: Lexicon
) -> Bool[Tensor, "N W"]:
    """Whether each picture is nearest to the reference of its own view word."""
    seen = lexicon.look(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])
    best = torch.einsum("nvd,nwd->nvw", seen, known).argmax(dim=-1)
    return (best == torch.arange(len(VIEWS), device=best.device)).cpu()


def references(
    specs: Sequence[Spec], lexicon: Lexicon, device: torch.device
) -> Float[Tensor, "N W D"]:
    """Each scene's unit mean embedding under each view word."""
    generator = torch.Generator().manual_seed(_SEED)
    proportions = torch.rand(len(specs) * _NUM_SHAPES, NUM_PROPORTIONS, generator=generator)
    cameras = [(azimuth, level) for azimuths, level in TYPICAL_DEG.values() for azimuth in azimuths]
    repeated = [spec for spec in specs for _ in range(_NUM_SHAPES)]
    seen = lexicon.look(_show(repeated, proportions, [cameras] * len(repeated), device))
    by_scene = seen.unflatten(0, (len(specs), _NUM_SHAPES, len(cameras)))
    of_words = by_scene.split([len(TYPICAL_DEG[view][0]) for view in VIEWS], dim=2)
    means = torch.stack([part.mean(dim=(1, 2)) for part in of_words], dim=1)
    return torch.nn.functional.normalize(means, dim=-1)


def any_views(specs: Sequence[Spec], device: torch.device) -> Float[Tensor, "N W 3 h w"]:
    """A true shape of each scene, none of its references', from anywhere with each view word."""
    generator, draw = torch.Generator().manual_seed(_SEED + 1), random.Random(_SEED)
    proportions = torch.rand(len(specs), NUM_PROPORTIONS, generator=generator)
    cameras = [[_any_camera(view, draw) for view in VIEWS] for _ in specs]
    return _show(specs, proportions, cameras, device).unflatten(0, (len(specs), len(VIEWS)))


def _any_camera(view: str, draw: random.Random) -> tuple[float, float]:
    """Azimuth and elevation of a training picture that has the view word."""
    low, high = (math.sin(math.radians(angle)) for angle in ELEVATION_DEG)
    while True:
        azimuth = draw.uniform(0.0, 360.0)
        by_area = math.degrees(math.asin(draw.uniform(low, high)))
        elevation = draw.choice([by_area, draw.uniform(*ELEVATION_DEG)])
        if view_word(azimuth, elevation) == view:
            return azimuth, elevation


def _show(
    specs: Sequence[Spec],
    proportions: Float[Tensor, "N K"],
    cameras: Sequence[Sequence[tuple[float, float]]],
    device: torch.device,
) -> Float[Tensor, "NV 3 h w"]:
    """Coloured pictures over the stage's background from each scene's cameras (azimuth, elevation),
    as many of every scene."""
    num = len(cameras[0])
    azimuth, level = torch.tensor(cameras).flatten(0, 1).unbind(-1)
    rgba = true_pictures(
        [spec for spec in specs for _ in range(num)],
        proportions.repeat_interleave(num, dim=0),
        azimuth,
        level,
        textureless=False,
        size=SIZE,
        device=device,
    )
    return over_background(rgba[:, :3], rgba[:, 3:])
