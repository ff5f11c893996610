"""Candidates for `fast`: what may reach a recipe's own quality in few evaluations. Free of torch.

Settings by their paths, as `engine.evaluation.sweep` has them, each a change of one thing to a fast
recipe. Where the number of steps changes, the rate changes against it, so that steps x rate stays.
"""

from engine.evaluation.sweep import Changes, changed
from engine.evaluation.variations import Variation
from engine.recipe import Recipe

FEW = 400
"""Evaluations of most candidates: a quarter of those of `primitives`."""
MORE = 700
"""The most that `fast` may take, whatever a recipe takes."""


def candidates(fast: Recipe) -> list[Variation]:
    """The recipe itself, then its changes at `FEW` evaluations, then those at `MORE`."""
    first, last = fast.distillation.t_max
    scale = fast.distillation.scale
    changes: dict[str, Changes] = {
        "sqrt t": {"distillation.t_schedule": "sqrt"},
        "t ends late": {"distillation.t_max": [first, 0.3]},
        "t starts at .8": {"distillation.t_max": [0.8, last]},
        "twice the guidance": {"distillation.scale": 2.0 * scale},
        "half the guidance": {"distillation.scale": 0.5 * scale},
        "uniform weight": {"distillation.weighting": "uniform"},
        "32x32": {"render_size": 32},
        "half the rate": {"optimiser.lr": [0.5 * rate for rate in fast.optimiser.lr]},
    }
    few = {f"fast: {name}": changed(fast, change) for name, change in changes.items()}
    few |= {f"fast: views={views}": _spread(fast, FEW, views) for views in (2, 4)}
    more = {f"fast {MORE}: views={views}": _spread(fast, MORE, views) for views in (1, 2)}
    found = {"fast": fast, **few, **more}
    return [Variation(name=name, recipe=recipe) for name, recipe in found.items()]


def _spread(recipe: Recipe, evaluations: int, views: int) -> Recipe:
    """The recipe with so many views a step and as many steps as the evaluations allow."""
    steps = evaluations * recipe.views // (views * recipe.evaluations_a_step)
    factor = recipe.iterations / steps
    rate = [factor * rate for rate in recipe.optimiser.lr]
    return changed(recipe, {"views": views, "iterations": steps, "optimiser.lr": rate})
