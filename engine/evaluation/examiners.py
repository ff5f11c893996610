"""Examinations: a judge looks at subjects, and says how well their prompts fit what it saw.

look      pictures to embeddings: what takes time. It leaves, for each subject, the mean embedding
          of its coloured views, that of its textureless ones, and its Janus score (`janus`).
judge     looks and prompts to scores, in a pool of captions: quick, so that looks that are kept can
          be judged again in another pool.

similarity   mean cosine over the views between picture and the subject's own caption
place        how many other captions of the pool score at least as well: 0 is a hit, a tie is a
             miss, and the share of hits is the R-Precision (arXiv 2209.14988, 4)

Two sorts of judges: `Clip`, to whom colour and shape are shown under the prompt itself, and those
of the embedded world, who read its grammar: they are shown textureless views under the colourless
caption, among those of all geometries, and give a `Verdict` besides.

Axes: N subjects, V views, D features, P captions of the pool.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from engine.evaluation.clip import Clip
from engine.evaluation.janus import janus
from engine.evaluation.judging import verdict
from engine.evaluation.lexicon import Encoder, Lexicon, geometry_places, look, read, spec_places
from engine.evaluation.pools import with_swaps
from engine.evaluation.stage import EMBEDDED, Stage, Staged
from engine.evaluation.verdict import Verdict
from engine.primitives.captions import parse

LARGEST = 128
"""Side of the largest pictures that are rendered for a judge, that of an asset's own views as a
rule; what a judge wants larger is enlarged."""


@dataclass(frozen=True, kw_only=True)
class Looks:
    """What a judge saw of N subjects, on the CPU."""

    colour: Float[Tensor, "N D"]
    """Mean over the coloured views of unit embeddings."""
    geometry: Float[Tensor, "N D"]
    """The same of the textureless ones."""
    janus: Float[Tensor, "N"]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a judge says of one subject. A place is None where the pool holds no other caption."""

    similarity: float
    place: int | None
    geometry_similarity: float
    geometry_place: int | None
    verdict: Verdict | None = None
    """Of a judge of the embedded world."""


class Examiner(Protocol):
    """A judge, and how subjects are shown to it."""

    def takes(self, prompt: str) -> bool:
        """Whether the judge understands the prompt."""
        ...

    def stage(self, radius: float, fov_deg: float) -> Stage:
        """Where a subject is shown whose own cameras stand at `radius`, with that field of view."""
        ...

    def look(self, staged: Staged) -> Looks:
        """What it sees of subjects on stage."""
        ...

    def pool_size(self, pool: Sequence[str]) -> int:
        """How many captions a pool of these prompts holds."""
        ...

    def judge(self, looks: Looks, prompts: Sequence[str], pool: Sequence[str]) -> list[Scores]:
        """Scores of subjects with those prompts; each has its own besides the pool's."""
        ...


def looks_of(encoder: Encoder, staged: Staged) -> Looks:
    """What an encoder sees of subjects on stage."""
    colour, geometry = (
        look(encoder, pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2]).cpu()
        for pictures in (staged.colour, staged.geometry)
    )
    return Looks(colour=colour.mean(dim=1), geometry=geometry.mean(dim=1), janus=janus(colour))


class ClipExaminer:
    """Any CLIP; remembers the embeddings of the last pool."""

    def __init__(self, clip: Encoder, size: int) -> None:
        self._clip, self._size = clip, min(size, LARGEST)
        self._pool: tuple[str, ...] = ()
        self._read = torch.empty(0)

    @classmethod
    def of(cls, clip: Clip) -> "ClipExaminer":
        """Shows pictures in the size that the model looks at, up to `LARGEST`."""
        return cls(clip, clip.size)

    def takes(self, prompt: str) -> bool:
        """Any."""
        return True

    def stage(self, radius: float, fov_deg: float) -> Stage:
        """The subject's own distance, from which all of it is seen: a large one is further off."""
        return Stage(size=self._size, radius=radius, fov_deg=fov_deg)

    def look(self, staged: Staged) -> Looks:
        """As `looks_of`."""
        return looks_of(self._clip, staged)

    def pool_size(self, pool: Sequence[str]) -> int:
        """One for each."""
        return len(set(pool))

    def judge(self, looks: Looks, prompts: Sequence[str], pool: Sequence[str]) -> list[Scores]:
        """Colour and geometry in the same pool."""
        captions = dict.fromkeys(prompts)
        rows = {text: row for row, text in enumerate(captions)}
        own = read(self._clip, list(captions)).cpu()[[rows[text] for text in prompts]]
        others = self._embedded(tuple(dict.fromkeys(pool)))
        colour, geometry = looks.colour @ others.T, looks.geometry @ others.T
        by_colour, by_shape = ((x * own).sum(-1) for x in (looks.colour, looks.geometry))
        found: list[Scores] = []
        for row, prompt in enumerate(prompts):
            is_other = torch.tensor([text != prompt for text in self._pool], dtype=torch.bool)
            found.append(
                Scores(
                    similarity=float(by_colour[row]),
                    place=_place(colour[row][is_other], by_colour[row]),
                    geometry_similarity=float(by_shape[row]),
                    geometry_place=_place(geometry[row][is_other], by_shape[row]),
                )
            )
        return found

    def _embedded(self, pool: tuple[str, ...]) -> Float[Tensor, "P D"]:
        if pool != self._pool:
            self._pool, self._read = pool, read(self._clip, pool).cpu()
        return self._read


class EmbeddedExaminer:
    """A judge of the embedded world, shown its stage; the pool holds each caption's colour swap
    too, as the benchmark's does."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon

    def takes(self, prompt: str) -> bool:
        """A sentence of the grammar."""
        try:
            parse(prompt)
        except ValueError:
            return False
        return True

    def stage(self, radius: float, fov_deg: float) -> Stage:
        """Always the one that its training pictures know."""
        return EMBEDDED

    def look(self, staged: Staged) -> Looks:
        """As `looks_of`."""
        return looks_of(self._lexicon.judge, staged)

    def pool_size(self, pool: Sequence[str]) -> int:
        """The scenes that are named, and each one's colour swap."""
        return len(with_swaps([parse(text) for text in pool]))

    def judge(self, looks: Looks, prompts: Sequence[str], pool: Sequence[str]) -> list[Scores]:
        """Verdicts as the benchmark's; `pool` must be of prompts that the judge takes."""
        scale, named = self._lexicon.judge.scale, with_swaps([parse(text) for text in pool])
        by_colour = self._lexicon.scores_of(looks.colour)
        by_shape = self._lexicon.geometry_scores_of(looks.geometry)
        found: list[Scores] = []
        for row, spec in enumerate(parse(text) for text in prompts):
            said = verdict(spec, by_colour[row], by_shape[row], named)
            shape = geometry_places()[spec.geometry]
            found.append(
                Scores(
                    similarity=float(by_colour[row, spec_places()[spec]]) / scale,
                    place=said.benchmark_place if set(named) - {spec} else None,
                    geometry_similarity=float(by_shape[row, shape]) / scale,
                    geometry_place=said.geometry_place,
                    verdict=said,
                )
            )
        return found


def _place(others: Float[Tensor, "P"], own: Float[Tensor, ""]) -> int | None:
    return int((others >= own).sum()) if len(others) else None
