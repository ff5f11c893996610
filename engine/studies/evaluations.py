"""What evaluations of the diffusion model buy: a recipe at fractions of its steps, and fast ones.

    python -m engine.studies.evaluations --out DIR                            # tunes: dev, by J1
    python -m engine.studies.evaluations --out DIR --split test --judge j2    # reports

The recipe runs an eighth, a quarter and half of its steps, all of them, and twice as many; all its
schedules are parts of a run, and shrink with it. It is at its knee where doubling gains less than
a point. Beside this curve stand candidates for its fast variant (`fast_candidates`), of 400
evaluations or fewer and of 700 or fewer. Writes the curve as `curve.svg`, too.

On an NVIDIA H200, by the measured 1.25 s a scene of `primitives`, the curve takes four minutes of
48 prompts and the candidates three and a half; on two GPUs, give one `--only "x *"`, the other
`--only "fast*"`.
"""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from engine import recipes
from engine.evaluation.variations import Variation
from engine.recipe import Recipe
from engine.studies import order, study
from engine.studies.chart import Point, Series, chart
from engine.studies.fast_candidates import candidates
from engine.studies.results import Result

FAST = "primitives_fast"
SHARES = (Fraction(1, 8), Fraction(1, 4), Fraction(1, 2), Fraction(1), Fraction(2))
_SHOWN = {"colour retrieval": "colour_retrieval", "geometry retrieval": "geometry_retrieval"}


def named(share: Fraction) -> str:
    """The variation's name: "x 1/2" runs half of the steps."""
    return f"x {share}"


def variations(recipe: Recipe, fast: Recipe) -> list[Variation]:
    """The recipe at each of `SHARES` of its steps, then the candidates for its fast variant."""
    curve = [
        Variation(
            name=named(share),
            recipe=replace(recipe, iterations=max(1, int(recipe.iterations * share))),
        )
        for share in SHARES
    ]
    return [*curve, *candidates(fast)]


def knee(found: Sequence[Result]) -> str:
    """What doubling the recipe's steps gains, in points of a hundred, in words."""
    by_name = {result.name: result for result in found}
    usual, twice = (by_name.get(named(Fraction(share))) for share in (1, 2))
    if usual is None or twice is None:
        return "The recipe at its own steps, at twice as many, or both are not there yet.\n"
    gains = {
        head: (getattr(twice.figures, name) or 0.0) - (getattr(usual.figures, name) or 0.0)
        for head, name in _SHOWN.items()
    }
    gains["score"] = twice.score - usual.score
    said = ", ".join(f"{head} {100.0 * gain:+.1f}" for head, gain in gains.items())
    return f"Twice the steps of the recipe change, in points: {said}.\n"


def drawn(found: Sequence[Result]) -> str:
    """The curve as SVG: lines for the recipe, single marks for the candidates."""
    is_curve = {named(share) for share in SHARES}
    series = []
    for head, name in _SHOWN.items():
        points = [
            Point(x=result.evaluations, y=getattr(result.figures, name) or 0.0, name=result.name)
            for result in found
        ]
        series.append(
            Series(
                name=head,
                line=[point for point in points if point.name in is_curve],
                marks=[point for point in points if point.name not in is_curve],
            )
        )
    return chart(
        series,
        x_name="U-Net evaluations a scene",
        y_name="share of prompts found",
        marks_name="fast candidates",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = order.parser("evaluations", __doc__, split="dev", judge="j1", prompts=48)
    usual = variations(recipes.get(order.RECIPE), recipes.get(FAST))
    order.add_choice(parser, [v.name for v in usual])
    told = "the recipe that candidates vary (default: %(default)s)"
    parser.add_argument("--fast", default=FAST, help=told)
    given = parser.parse_args(arguments)
    with order.mistakes(parser):
        offered = variations(order.base_of(given), recipes.find(given.fast))
        asked = order.order(given, offered)
    found = study.run(asked, words=knee)
    (given.out / "curve.svg").write_text(drawn(found))


if __name__ == "__main__":
    main()
