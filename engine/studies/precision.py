"""Whether rounding and company cost quality: one recipe, run in several manners.

    python -m engine.studies.precision --out DIR

as shipped         the U-Net in bf16 and fused kernels, in gangs of the recipe's size (or --slots)
as shipped, again  the same once more: on a GPU sums come in an order of chance, and this is what
                   that alone does
float32            the U-Net in float32 and references in the kernels' place, no product rounded
                   to tf32
alone              as shipped, each scene in a gang of its own

All make the same prompts from the same seeds. Each is held against the first, scene by scene, by an
exact sign test (`paired`) of retrieval, distance and each loss of the last step. With Q questions a
difference counts as more than noise where some p lies below .05 / Q (Bonferroni). Of a few dozen
scenes the test sees no small difference, so that the words say how many changed and by how much.

On an NVIDIA H200, 32 prompts of `primitives`, estimated: 20 s as shipped, and again;
a minute and a half in float32; a minute alone. Without, steps of small gangs are bound by the host,
and "alone" takes ten minutes.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from engine import recipes
from engine.evaluation.manner import Manner
from engine.evaluation.variations import Variation
from engine.recipe import Recipe
from engine.studies import order, study
from engine.studies.paired import Paired, paired
from engine.studies.results import Result, Row

SHIPPED = "as shipped"
LEVEL = 0.05

_SHARES: Mapping[str, Callable[[Row], float]] = {
    "colour retrieval": lambda scene: scene["colour_place"] == 0,
    "geometry retrieval": lambda scene: scene["geometry_place"] == 0,
}


def variations(recipe: Recipe, usual: Manner) -> list[Variation]:
    """The recipe in each manner; `usual` says what they have in common."""
    shipped = replace(usual, slots=usual.slots or recipe.num_slots)
    manners = {
        SHIPPED: shipped,
        f"{SHIPPED}, again": shipped,
        "float32": replace(shipped, is_exact=True),
        "alone": replace(shipped, slots=1),
    }
    return [Variation(name=name, recipe=recipe, manner=found) for name, found in manners.items()]


def losses(result: Result) -> dict[str, float]:
    """Median over the scenes of each loss of the last step."""
    names = result.scenes[0]["losses"]
    return {name: statistics.median(_loss(name, s) for s in result.scenes) for name in names}


def compared(first: Result, second: Result) -> dict[str, Paired]:
    """How the scenes that both have changed from the first to the second, question by question."""
    others = {scene["caption"]: scene for scene in second.scenes}
    both = [(one, others[one["caption"]]) for one in first.scenes if one["caption"] in others]
    questions: dict[str, Callable[[Row], float]] = {**_SHARES, "chamfer": _chamfer}
    questions |= {name: partial(_loss, name) for name in first.scenes[0]["losses"]}
    return {
        name: paired([asked(a) for a, _ in both], [asked(b) for _, b in both])
        for name, asked in questions.items()
    }


def in_words(first: Result, second: Result) -> str:
    """What changed, and whether it is more than noise."""
    found = compared(first, second)
    lines = [f"{second.name}, against {first.name}:"]
    for name, pairs in found.items():
        if name in _SHARES:
            what = f"{pairs.higher} scenes gained, {pairs.lower} lost, {pairs.equal} as before"
        else:
            what = f"higher in {pairs.higher}, lower in {pairs.lower}, median {pairs.change:+.2g}"
        lines.append(f"- {name}: {what} (p {pairs.p:.2f})")
    told = [name for name, pairs in found.items() if pairs.p < LEVEL / len(found)]
    verdict = f"more than noise in {', '.join(told)}" if told else "within noise"
    lines.append(f"- {verdict}, at {LEVEL} / {len(found)}")
    return "".join(f"{line}\n" for line in lines)


def _chamfer(scene: Row) -> float:
    return math.inf if scene["chamfer"] is None else scene["chamfer"]


def against_shipped(found: Sequence[Result]) -> str:
    """Every other manner against the first, if that is there."""
    by_name = {result.name: result for result in found}
    shipped = by_name.pop(SHIPPED, None)
    if shipped is None:
        return ""
    return "\n".join(in_words(shipped, other) for other in by_name.values())


def _loss(name: str, scene: Row) -> float:
    value = scene["losses"][name]
    return math.inf if value is None else value


def _told(result: Result) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in losses(result).items())


COLUMNS = {"last losses, medians": _told}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    slots = "the recipe's number"
    parser = order.parser("precision", __doc__, split="test", judge="j2", prompts=32, slots=slots)
    order.add_choice(parser, [v.name for v in variations(recipes.get(order.RECIPE), Manner())])
    given = parser.parse_args(arguments)
    with order.mistakes(parser):
        offered = variations(order.base_of(given), order.manner_of(given))
        asked = order.order(given, offered)
    study.run(asked, columns=COLUMNS, words=against_shipped)


if __name__ == "__main__":
    main()
