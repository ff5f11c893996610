"""Ours against threestudio's settings, both in the embedded world, on the same scenes.

    python -m engine.studies.peers --out DIR --prompts 48 --judge j2

threestudio's are those of `threestudio_if` to the digit (guidance and its form, range of t, losses,
shading, environment map, rates, one view a step), with what the world dictates in the place of its
own: the diffusion model, cameras at the distance that this world's objects are seen from (its
elevations are the same), samples along a ray, and bounds of 1. It runs

- as many evaluations as ours has, and its own 10,000 (every schedule is a part of the run);
- with the dense grid that ours has, and with its own hash grid, in cells of its own size.

Its hash grid needs the Triton kernels to be bearable, and some 200 MB a scene for its tables and
moments. What it says of threestudio is what these settings are worth with
this model; threestudio itself is not run.

On an NVIDIA H200, estimated from 1.25 s a scene of `primitives`: ours and the dense grid under as
many evaluations take three minutes for 48 prompts, which is what runs without `--only`. Its 10,000
steps take eight minutes more: `--only "threestudio, dense grid, 10000*" --part 1/2` is for the
first of two GPUs.
"""

from collections.abc import Sequence
from dataclasses import replace

from engine import recipes
from engine.configs.fields import FieldConfig, HashGridConfig
from engine.evaluation.variations import Variation
from engine.recipe import Recipe
from engine.studies import order, study

FAST = "primitives_fast"
USUAL = ["ours*", "threestudio, dense grid, as many*"]
"""What runs without `--only`."""


def transplanted(peer: Recipe, ours: Recipe, field: FieldConfig) -> Recipe:
    """The peer's settings with our world's model, cameras, march and export, and a given field."""
    return replace(
        peer,
        guidance=ours.guidance,
        render_size=ours.render_size,
        field=field,
        camera=ours.camera,
        march=ours.march,
        export=ours.export,
    )


def rescaled(field: FieldConfig, bound: float) -> FieldConfig:
    """A hash grid within other bounds, its cells of the same size."""
    assert isinstance(field, HashGridConfig)
    share = bound / field.bound
    return replace(
        field,
        bound=bound,
        base_resolution=round(field.base_resolution * share),
        finest_resolution=round(field.finest_resolution * share),
    )


def variations(ours: Recipe, fast: Recipe, peer: Recipe) -> list[Variation]:
    """Ours and its fast variant; the peer's in both fields, in as many evaluations and in all."""
    grids = {"dense grid": ours.field, "hash grid": rescaled(peer.field, ours.field.bound)}
    found = [Variation(name="ours", recipe=ours), Variation(name="ours, fast", recipe=fast)]
    for name, field in grids.items():
        recipe = transplanted(peer, ours, field)
        as_many = ours.evaluations // recipe.evaluations_a_step
        found += [
            Variation(
                name=f"threestudio, {name}, as many evaluations",
                recipe=replace(recipe, iterations=as_many),
            ),
            Variation(name=f"threestudio, {name}, {recipe.iterations} steps", recipe=recipe),
        ]
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = order.parser("peers", __doc__, split="test", judge="j2", prompts=48)
    peer = recipes.get("threestudio_if")
    usual = variations(recipes.get(order.RECIPE), recipes.get(FAST), peer)
    order.add_choice(parser, [v.name for v in usual], USUAL)
    told = "our fast variant (default: %(default)s)"
    parser.add_argument("--fast", default=FAST, help=told)
    given = parser.parse_args(arguments)
    with order.mistakes(parser):
        offered = variations(order.base_of(given), recipes.find(given.fast), peer)
        asked = order.order(given, offered)
    study.run(asked)


if __name__ == "__main__":
    main()
