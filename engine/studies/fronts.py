"""Whether objects that have a front have one, and no second: what view words and Perp-Neg do.

    python -m engine.studies.fronts --out DIR

Four variants of a recipe: no view words, those of the nearest view, blends of them by azimuth, and
blends with Perp-Neg (arXiv 2304.04968). Scenes are of kinds whose true shapes have a front that the
judge can see (`FRONTED`), as many of each. A judge compares each view of an asset with what true
shapes of its scene look like from the front, the side and behind (`view_words.references`):

back as front   the view of the back is nearer to the front's look than to the back's
two fronts      some view and the one opposite are both nearest to the front's look, wherever the
                object faces: without view words nothing tells it to face +X
janus           `engine.evaluation.janus`: the lower, the less alike are front and back

Each is asked of true shapes, too: that is the least that it can be. An asset that failed is not
asked. On an NVIDIA H200 the first three take a minute each of 48 prompts by the measured 1.25 s a
scene of `primitives`, Perp-Neg, which asks the model twice, about two.

Axes: N scenes, V views of the stage, W view words, D features.
"""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from engine import recipes
from engine.evaluation.janus import BACK, janus
from engine.evaluation.judge import Judge
from engine.evaluation.lexicon import Lexicon
from engine.evaluation.stage import AZIMUTHS_DEG, show_true_shapes
from engine.evaluation.variations import Variation
from engine.evaluation.view_words import references
from engine.guidance import views
from engine.hardware import usual_device
from engine.primitives.grammar import Spec
from engine.primitives.kinds import NUM_PROPORTIONS
from engine.primitives.splits import Split, choose, specs_of
from engine.recipe import Recipe
from engine.studies import order, study
from engine.studies.report import Column
from engine.studies.results import Result, Row

FRONTED = ("house", "car", "snowman", "robot", "duck", "teapot", "television")
"""Kinds whose true shapes J2 takes from behind for the front, and from the front for the back, in
an eighth of cases or fewer. The others look more alike from both sides."""

_SEED = 17


def variations(recipe: Recipe) -> list[Variation]:
    """The recipe under each kind of view prompts."""
    asked = replace(recipe.distillation, perp_neg=False)
    blended = replace(asked, prompt_views="interpolated")
    found = {
        "no view prompts": replace(asked, prompt_views="none"),
        "view prompts": replace(asked, prompt_views="nearest"),
        "blended view prompts": blended,
        "blended, Perp-Neg": replace(blended, perp_neg=True),
    }
    return [
        Variation(name=name, recipe=replace(recipe, distillation=distillation))
        for name, distillation in found.items()
    ]


def fronted(split: Split, count: int, seed: int) -> list[Spec]:
    """Scenes of a split, single objects of each of `FRONTED` in turn, drawn as `choose` draws.

    Raises ValueError if there are not so many.
    """
    by_kind: dict[str, list[Spec]] = {kind: [] for kind in FRONTED}
    for spec in choose(split, len(specs_of(split)), seed):
        if spec.kind in by_kind and not spec.relation and spec.count == 1:
            by_kind[spec.kind].append(spec)
    deepest = max(map(len, by_kind.values()))
    found = [some[k] for k in range(deepest) for some in by_kind.values() if k < len(some)]
    if not 1 <= count <= len(found):
        raise ValueError(f"--prompts: expected 1 to {len(found)} scenes with a front, got {count}")
    return found[:count]


def examine(
    colour: Float[Tensor, "N V 3 h w"], specs: Sequence[Spec], lexicon: Lexicon
) -> list[Row]:
    """What each scene's views look like, by the judge."""
    seen = lexicon.look(colour.flatten(0, 1)).unflatten(0, colour.shape[:2])
    known = references(specs, lexicon, colour.device)
    return looks(seen, known.to(seen.device))


def looks(seen: Float[Tensor, "N V D"], known: Float[Tensor, "N W D"]) -> list[Row]:
    """The answers by the embeddings of views and of the references."""
    alike = torch.einsum("nvd,nwd->nvw", seen, known)
    as_front = alike[:, BACK, views.FRONT] >= alike[:, BACK, views.BACK]
    is_front = alike[..., [views.FRONT, views.SIDE, views.BACK]].argmax(dim=-1) == views.FRONT
    opposite = is_front.roll(len(AZIMUTHS_DEG) // 2, dims=1)
    rows = zip(
        as_front.tolist(),
        (is_front & opposite).any(dim=1).tolist(),
        janus(seen).tolist(),
        strict=True,
    )
    return [
        {"back_as_front": back, "two_fronts": two, "janus": round(value, 4)}
        for back, two, value in rows
    ]


def truth(specs: Sequence[Spec], lexicon: Lexicon, device: torch.device) -> list[Row]:
    """The answers that true shapes give, none of them a reference's."""
    generator = torch.Generator().manual_seed(_SEED)
    proportions = torch.rand(len(specs), NUM_PROPORTIONS, generator=generator).to(device)
    return examine(show_true_shapes(specs, proportions).colour, specs, lexicon)


def mean(scenes: Sequence[Row], name: str) -> float:
    """Mean of an answer over the scenes that were there."""
    asked = [scene[name] for scene in scenes if scene.get("taken_for", "") is not None]
    return statistics.fmean(asked) if asked else float("nan")


def _share(name: str) -> Column:
    def said(result: Result) -> str:
        return f"{mean(result.scenes, name):.3f}"

    return said


COLUMNS = {
    name.replace("_", " "): _share(name) for name in ("back_as_front", "two_fronts", "janus")
}


def in_words(true: Sequence[Row]) -> str:
    """What true shapes give under each column's head."""
    figures = ", ".join(f"{head} {mean(true, head.replace(' ', '_')):.3f}" for head in COLUMNS)
    return f"True shapes of the same scenes: {figures}.\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = order.parser("fronts", __doc__, split="test", judge="j2", prompts=48)
    order.add_choice(parser, [v.name for v in variations(recipes.get(order.RECIPE))])
    given = parser.parse_args(arguments)
    with order.mistakes(parser):
        asked = order.order(given, variations(order.base_of(given)), fronted)

    @cache
    def true() -> list[Row]:
        device = usual_device()
        return truth(asked.specs, Lexicon(Judge.load(given.judge, device)), device)

    study.run(asked, examine, COLUMNS, lambda _: in_words(true()))


if __name__ == "__main__":
    main()
