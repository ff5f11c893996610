"""A judge that needs no training: it reads colours and outlines straight from the pixels.

A picture's features are the colours of its upper and of its lower half, by nearest colour word
(24 shares), and its outline on an 8 x 8 raster; each part has unit length. A caption's are what
they would be for one solid on another, the first above; every other scene is read as if its colours
were mixed all over. Outlines are known of the geometries in `KNOWN`, of middling proportions. View
words are ignored.
"""

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.evaluation.stage import AZIMUTHS_DEG, BACKGROUND, ELEVATION_DEG
from engine.guidance.prompts import VIEWS
from engine.primitives.captions import caption, colourless_caption
from engine.primitives.grammar import COLOURS, Geometry, Spec, geometries, specs
from engine.primitives.kinds import NUM_PROPORTIONS
from engine.primitives.truth import true_views

NAMES = list(COLOURS)
RASTER = 8
KNOWN = tuple(g for g in geometries() if g.relation == "on" and g.other == "cube")


def _object(x: Tensor) -> Tensor:
    return (x - torch.tensor(BACKGROUND)[:, None, None]).abs().amax(dim=1) > 0.02


def colours_of_picture(x: Tensor) -> Tensor:
    """Shares of the 12 colours in the upper and in the lower half, B 24."""
    words = torch.tensor(list(COLOURS.values()))
    nearest = torch.cdist(x.movedim(1, -1).flatten(1, 2), words).argmin(dim=-1)
    seen = F.one_hot(nearest, len(words)) * _object(x).flatten(1)[..., None]
    return F.normalize(seen.unflatten(1, (2, -1)).sum(dim=2).flatten(1).float(), dim=-1)


def colours_of_words(spec: Spec) -> list[float]:
    """What `colours_of_picture` would be if the first colour were all above, 24."""
    above, below = spec.colours[:1], spec.colours[1:]
    if spec.relation != "on":
        above = below = spec.colours
    shares = [float(name in half) for half in (above, below) for name in NAMES]
    return [share / math.sqrt(sum(shares)) for share in shares]


def any_spec(geometry: Geometry) -> Spec:
    """Some scene of a geometry."""
    return next(spec for spec in specs() if spec.geometry == geometry)


@cache
def true_outlines() -> Tensor:
    """The mean raster of each known geometry."""
    views = true_views(
        [any_spec(geometry) for geometry in KNOWN],
        torch.full((len(KNOWN), NUM_PROPORTIONS), 0.5),
        torch.tensor(AZIMUTHS_DEG),
        ELEVATION_DEG,
        textureless=True,
        size=16,
    )
    rasters = F.adaptive_avg_pool2d(views[:, :, 3].flatten(0, 1)[:, None], RASTER)
    return rasters.view(len(KNOWN), -1, RASTER**2).mean(dim=1)


class Oracle:
    """Logits of at most 20."""

    scale = 10.0

    def __init__(self) -> None:
        self._coloured = {caption(spec): spec for spec in specs()}
        self._colourless = {colourless_caption(g): g for g in geometries()}
        self._middle = true_outlines().mean(dim=0)
        outlines = F.normalize(true_outlines() - self._middle, dim=-1).tolist()
        self._outlines = dict(zip(KNOWN, outlines, strict=True))

    def embed_pictures(self, x: Tensor) -> Tensor:
        raster = F.adaptive_avg_pool2d(_object(x).float()[:, None], RASTER).flatten(1)
        outline = F.normalize(raster - self._middle, dim=-1)
        return torch.cat([colours_of_picture(x), outline], dim=1)

    def embed_captions(self, captions: list[str]) -> Tensor:
        return torch.tensor([self._read(text) for text in captions])

    def _read(self, text: str) -> list[float]:
        for view in VIEWS:
            text = text.removesuffix(f", {view}")
        spec = self._coloured.get(text)
        geometry = self._colourless[text] if spec is None else spec.geometry
        colours = [0.0] * 24 if spec is None else colours_of_words(spec)
        return colours + self._outlines.get(geometry, [0.0] * RASTER**2)
