"""A judge together with every caption of the world, read once.

score   of a caption for a subject: mean logit over its views, scale <mean picture, caption>,
        since a logit is scale times the inner product of two unit embeddings

Axes: N subjects, V views, C captions, D features.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from engine.primitives.captions import caption, colourless_caption
from engine.primitives.grammar import Geometry, Spec, geometries, specs

_PICTURES_AT_ONCE = 512
_CAPTIONS_AT_ONCE = 1024


@runtime_checkable
class Encoder(Protocol):
    """What is asked of a judge: unit embeddings of pictures and of captions."""

    @property
    def scale(self) -> float:
        """Factor between inner products and logits."""
        ...

    def embed_pictures(self, x: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B D"]:
        """Pictures in [0, 1]."""
        ...

    def embed_captions(self, captions: list[str]) -> Float[Tensor, "C D"]:
        """Sentences that it understands."""
        ...


@cache
def spec_places() -> Mapping[Spec, int]:
    """The place of each scene in `specs`."""
    return {spec: k for k, spec in enumerate(specs())}


@cache
def geometry_places() -> Mapping[Geometry, int]:
    """The place of each geometry in `geometries`."""
    return {geometry: k for k, geometry in enumerate(geometries())}


class Lexicon:
    """Scores of all captions for pictures. Reading the captions takes the most time; keep it."""

    @torch.no_grad()
    def __init__(self, judge: Encoder) -> None:
        """Reads the canonical caption of every scene and of every geometry."""
        self.judge = judge
        self._coloured = self.read([caption(spec) for spec in specs()])
        self._colourless = self.read([colourless_caption(geometry) for geometry in geometries()])

    def scores(self, pictures: Float[Tensor, "N V 3 h w"]) -> Float[Tensor, "N C"]:
        """Scores of the captions of `specs()`, on the CPU."""
        return self.scores_of(self._seen(pictures))

    def geometry_scores(self, pictures: Float[Tensor, "N V 3 h w"]) -> Float[Tensor, "N C"]:
        """Scores of the colourless captions of `geometries()`, on the CPU."""
        return self.geometry_scores_of(self._seen(pictures))

    def scores_of(self, seen: Float[Tensor, "N D"]) -> Float[Tensor, "N C"]:
        """`scores` of subjects by the mean embeddings of their views."""
        return self._scores(seen, self._coloured)

    def geometry_scores_of(self, seen: Float[Tensor, "N D"]) -> Float[Tensor, "N C"]:
        """`geometry_scores` of subjects by the mean embeddings of their views."""
        return self._scores(seen, self._colourless)

    def look(self, pictures: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B D"]:
        """Embeddings of any number of pictures."""
        return look(self.judge, pictures)

    def read(self, captions: list[str]) -> Float[Tensor, "C D"]:
        """Embeddings of any number of captions."""
        return read(self.judge, captions)

    def _seen(self, pictures: Float[Tensor, "N V 3 h w"]) -> Float[Tensor, "N D"]:
        return self.look(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2]).mean(dim=1)

    def _scores(
        self, seen: Float[Tensor, "N D"], captions: Float[Tensor, "C D"]
    ) -> Float[Tensor, "N C"]:
        return (self.judge.scale * seen.to(captions.device) @ captions.T).cpu()


@torch.no_grad()
def look(encoder: Encoder, pictures: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B D"]:
    """Embeddings of any number of pictures."""
    some = [encoder.embed_pictures(x) for x in pictures.split(_PICTURES_AT_ONCE)]
    return torch.cat(some).float()


@torch.no_grad()
def read(encoder: Encoder, captions: Sequence[str]) -> Float[Tensor, "C D"]:
    """Embeddings of any number of captions."""
    some = [
        encoder.embed_captions(list(captions[k : k + _CAPTIONS_AT_ONCE]))
        for k in range(0, len(captions), _CAPTIONS_AT_ONCE)
    ]
    return torch.cat(some).float()
