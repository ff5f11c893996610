"""What Adam in Shampoo's place costs DreamFusion's own recipe, in the embedded world.

    python -m engine.studies.optimisers --out DIR

The recipe is `dreamfusion_paper`: its network and losses, its shading and range of t, its guidance
and every schedule as a part of the run, in far fewer steps and with one view a step; the diffusion
model, cameras, bounds, samples along a ray and export are the embedded world's (as in `peers`).

Adam, rate x K                the betas of the paper's Shampoo, K times its rates
Shampoo, rate x K, roots / N  that of `engine.studies.shampoo`, new roots every N steps

Shampoo's momentum is a sum and goes ten times as far under the same rate, so that `Adam, rate x 10`
walks as far as `Shampoo, rate x 1`. All make the same prompts from the same seeds. Behind the table
every Adam is held against Shampoo, scene by scene (as in `precision`), and it is said what one step
of Shampoo takes for one scene. Its steps are launched one by one, Adam's are replayed: what both
take in a gang differs by that, too.

Shampoo needs pytorch-optimizer (pure Python; `pip install pytorch-optimizer`). On an NVIDIA H200
500 steps of 8 scenes take 21 s with Adam, three of which run without `--only`, and 105 s with
Shampoo: 42.7 and 208.6 ms a step. Shampoo alone takes 11.8 ms a step and scene, and 293 ms where it
takes new roots. With the judge all fits into 160 s.
"""

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial

import torch

from engine import recipes
from engine.evaluation.variations import Variation
from engine.hardware import usual_device
from engine.optimiser import learning_rate
from engine.recipe import Recipe
from engine.starts import Starts
from engine.studies import order, precision, shampoo, study
from engine.studies.peers import transplanted
from engine.studies.results import Result
from engine.studies.shampoo import Shampoo

PAPER = "dreamfusion_paper"
STEPS = 500
EVERY = 25
FACTORS = (1, 3, 10, 30)
USUAL = ["Adam, rate x 1", "Adam, rate x 3", "Adam, rate x 10", "Shampoo, rate x 1, *"]
"""What runs without `--only`."""


def embedded(paper: Recipe, ours: Recipe, *, steps: int, views: int) -> Recipe:
    """The paper's recipe in our world, in so many steps."""
    field = replace(paper.field, bound=ours.field.bound)
    found = transplanted(paper, ours, field)
    # Its first field is a mist, which ours would cut away.
    march = replace(ours.march, density_floor=paper.march.density_floor)
    return replace(found, march=march, iterations=steps, views=views)


def faster(recipe: Recipe, factor: float) -> Recipe:
    """The recipe with so many times its learning rates, where the warm-up begins, too."""
    config = recipe.optimiser
    first, last = config.lr
    lr, warmup_lr = (factor * first, factor * last), factor * config.warmup_lr
    return replace(recipe, optimiser=replace(config, lr=lr, warmup_lr=warmup_lr))


def variations(recipe: Recipe, every: int) -> list[Variation]:
    """Adam and Shampoo at each rate."""
    found = []
    for factor in FACTORS:
        other = faster(recipe, factor)
        found.append(Variation(name=f"Adam, rate x {factor}", recipe=other))
    for factor in FACTORS:
        other = faster(recipe, factor)
        name = f"Shampoo, rate x {factor}, roots / {every}"
        made = partial(Shampoo, other.optimiser, every)
        found.append(Variation(name=name, recipe=other, optimiser=made))
    return found


def seconds_a_step(recipe: Recipe, every: int, device: torch.device) -> tuple[float, float]:
    """What one scene's step of Shampoo takes by itself: without new roots, and with them."""
    optimiser = Shampoo(recipe.optimiser, every)
    parameters = Starts(recipe, device).parameters(torch.zeros(1, dtype=torch.long, device=device))
    # Any gradient of full rank.
    gradients = {name: torch.randn_like(p) for name, p in parameters.items()}
    is_active = torch.ones(1, dtype=torch.bool, device=device)
    lr = learning_rate(recipe.optimiser, torch.zeros(1, device=device))
    optimiser.admit(0)

    def seconds(number: int) -> float:
        """Of so many steps, one after the other."""
        start = time.perf_counter()
        for _ in range(number):
            optimiser.step(parameters, gradients, lr=lr, is_active=is_active)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    seconds(every)  # The first roots are taken here, and libraries are set up.
    plain = seconds(every - 1) / (every - 1) if every > 1 else 0.0
    return plain, seconds(1)


def in_words(
    found: Sequence[Result], every: int, measured: Callable[[], tuple[float, float]]
) -> str:
    """Each Adam against the first Shampoo, and what Shampoo takes: `seconds_a_step`; nothing where
    there is none."""
    others = [result for result in found if result.name.startswith("Shampoo")]
    if not others:
        return ""
    adams = [result for result in found if result.name.startswith("Adam")]
    lines = [precision.in_words(others[0], adam) for adam in adams]
    plain, rooted = (1000.0 * s for s in measured())
    mean = (plain * (every - 1) + rooted) / every
    lines.append(
        f"Shampoo alone, a scene: {plain:.1f} ms a step, {rooted:.0f} ms with new roots, "
        f"{mean:.1f} ms in the mean\n"
    )
    return "\n".join(lines)


def _ms_a_step(result: Result) -> str:
    """Of the whole gang."""
    slots = (result.manner or {}).get("slots") or len(result.scenes)
    rounds = math.ceil(len(result.scenes) / slots)
    return f"{1000.0 * result.seconds / (rounds * result.recipe.iterations):.1f}"


COLUMNS = {"ms a step": _ms_a_step, **precision.COLUMNS}


def _parser() -> argparse.ArgumentParser:
    parser = order.parser("optimisers", __doc__, split="test", judge="j2", prompts=8)
    usual = variations(recipes.get(PAPER), EVERY)
    order.add_choice(parser, [v.name for v in usual], USUAL)
    add = parser.add_argument
    add("--paper", default=PAPER, help="the recipe that is measured (default: %(default)s)")
    add("--steps", type=int, default=STEPS, help="of a scene (default: %(default)s)")
    add("--views", type=int, default=1, help="of a scene, a step (default: %(default)s)")
    rooted = "steps between new roots (default: %(default)s)"
    add("--every", type=int, default=EVERY, help=rooted)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = _parser()
    given = parser.parse_args(arguments)
    with order.mistakes(parser):
        if given.every < 1:
            raise ValueError(f"--every: expected 1 step or more, got {given.every}")
        paper, ours = recipes.find(given.paper), order.base_of(given)
        recipe = embedded(paper, ours, steps=given.steps, views=given.views)
        asked = order.order(given, variations(recipe, given.every))
        if any(variation.optimiser for variation in asked.wanted):
            # Before anything is made.
            shampoo.library()
    # Measured once, and not before something of Shampoo is there.
    measured = cache(
        partial(
            seconds_a_step,
            recipe,
            given.every,
            usual_device(),
        )
    )
    study.run(asked, columns=COLUMNS, words=lambda found: in_words(found, given.every, measured))


if __name__ == "__main__":
    main()
