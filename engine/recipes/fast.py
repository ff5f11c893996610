"""The fast variant of any recipe: a quarter of its evaluations of the diffusion model.

What is changed is the same for all, and ours; it is tried in the embedded world alone
(`engine.studies.evaluations`), and of the real models nothing of it has been measured:

- Half the views and half the steps. A step of two views that lie half a turn apart sees the object
  whole; one of four sees it no better, but twice as dearly.
- Twice the learning rate. Adam moves a parameter by about its rate a step, whatever the gradient's
  size, so that half the steps go as far. Magic3D (arXiv 2211.10440) and threestudio take rates of
  .01 with hash grids; the doubled rate of those here starts at .02 and falls to a tenth.
- The same fall of t over the shorter run. That t should fall is DreamTime's finding (arXiv
  2306.12422) and ProlificDreamer's (arXiv 2305.16213): it settles shape and detail in fewer steps.

All schedules of a recipe are parts of its run, and so are shortened with it.
"""

from dataclasses import replace

from engine.recipe import Recipe
from engine.recipes.dreamfusion import dreamfusion_if, dreamfusion_sd
from engine.recipes.primitives import primitives

_FEWER_VIEWS = 2
_FEWER_STEPS = 2
_FASTER_RATE = 2.0


def primitives_fast() -> Recipe:
    """An asset of the embedded world on a GPU in 400 evaluations."""
    return _fast(
        primitives(), "the embedded world on a GPU: dense grid, 2 views of 64x64, 200 steps"
    )


def dreamfusion_if_fast() -> Recipe:
    """`dreamfusion_if` in a quarter of its evaluations."""
    return _fast(
        dreamfusion_if(), "dreamfusion_if in a quarter of its evaluations: 2 views, 2500 steps"
    )


def dreamfusion_sd_fast() -> Recipe:
    """`dreamfusion_sd` in a quarter of its evaluations."""
    return _fast(
        dreamfusion_sd(), "dreamfusion_sd in a quarter of its evaluations: 2 views, 2500 steps"
    )


def _fast(recipe: Recipe, summary: str) -> Recipe:
    first, last = recipe.optimiser.lr
    return replace(
        recipe,
        name=f"{recipe.name}_fast",
        summary=summary,
        iterations=recipe.iterations // _FEWER_STEPS,
        views=recipe.views // _FEWER_VIEWS,
        optimiser=replace(recipe.optimiser, lr=(_FASTER_RATE * first, _FASTER_RATE * last)),
    )
