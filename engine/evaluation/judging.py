"""A judge's verdicts on pictures and on optimised scenes.

    lexicon = Lexicon(Judge.load("j1", device))
    figures = evaluate(scenes, specs, lexicon)

Axes: N subjects, V views.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from engine.evaluation import accuracy, retrieval
from engine.evaluation.lexicon import Lexicon
from engine.evaluation.pools import POOL_SIZE, colour_pool
from engine.evaluation.stage import Staged, show_scenes
from engine.evaluation.verdict import Figures, Verdict, figures
from engine.export.subject import Subject
from engine.primitives.grammar import Spec, geometries


def evaluate(scenes: Sequence[Subject | None], specs: Sequence[Spec], lexicon: Lexicon) -> Figures:
    """Figures of optimised scenes, each of which should be the scene of the world beside it.

    None is a scene that came to nothing, which is wrong in everything. The scenes' device may be
    another than the judge's.
    """
    return figures(verdicts(show_scenes(scenes), specs, lexicon))


def verdicts(
    staged: Staged, specs: Sequence[Spec], lexicon: Lexicon, benchmark: Sequence[Spec] | None = None
) -> list[Verdict]:
    """What the judge says of subjects on stage; `benchmark` is the pool of a benchmark."""
    by_colour = lexicon.scores(staged.colour)
    by_shape = lexicon.geometry_scores(staged.geometry)
    return [
        verdict(spec, by_colour[row], by_shape[row], benchmark)
        if staged.is_there[row]
        else _failure(spec, benchmark)
        for row, spec in enumerate(specs)
    ]


def verdicts_of_pictures(
    pictures: Float[Tensor, "N V 3 h w"], specs: Sequence[Spec], lexicon: Lexicon
) -> list[Verdict]:
    """The same of coloured pictures that have no textureless twins."""
    scores = lexicon.scores(pictures)
    return [verdict(spec, row, None, None) for spec, row in zip(specs, scores, strict=True)]


def verdict(
    spec: Spec,
    by_colour: Float[Tensor, "C"],
    by_shape: Float[Tensor, "G"] | None,
    benchmark: Sequence[Spec] | None,
) -> Verdict:
    """What the judge says of one subject, by the lexicon's scores of its coloured pictures and, if
    there are any, of its textureless ones."""
    return Verdict(
        spec=spec,
        taken_for=accuracy.taken_for(by_colour),
        colour_place=retrieval.colour_place(by_colour, spec, colour_pool(spec)),
        geometry_place=None
        if by_shape is None
        else retrieval.geometry_place(by_shape, spec.geometry),
        benchmark_place=None
        if benchmark is None
        else retrieval.colour_place(by_colour, spec, benchmark),
        colours_right=accuracy.colours_right(by_colour, spec),
        beats_swap=accuracy.beats_swap(by_colour, spec),
    )


def _failure(spec: Spec, benchmark: Sequence[Spec] | None) -> Verdict:
    return Verdict(
        spec=spec,
        taken_for=None,
        colour_place=POOL_SIZE - 1,
        geometry_place=len(geometries()) - 1,
        benchmark_place=None if benchmark is None else len(benchmark) - 1,
        colours_right=(False,) * len(spec.colours),
        beats_swap=False if len(spec.colours) > 1 else None,
    )
