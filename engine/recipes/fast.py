"""The fast variant of any recipe: one view a step, a quarter of its evaluations of the U-Net.

Steps, rates and all schedules stay. A step of four views sees the object whole, one of one view as
Adam's running mean sees it over some steps, which is as good: in the embedded world it was the best
of ten ways to spend a quarter of the evaluations (`engine.studies.evaluations`, results.md). Of the
real models nothing of it has been measured; threestudio's settings take one view a step, too.
"""

from dataclasses import replace

from engine.recipe import Recipe
from engine.recipes.dreamfusion import dreamfusion_if, dreamfusion_sd
from engine.recipes.primitives import primitives


def primitives_fast() -> Recipe:
    """An asset of the embedded world on a GPU in 400 evaluations."""
    return _fast(
        primitives(), "the embedded world on a GPU: dense grid, 1 view of 64x64, 400 steps"
    )


def dreamfusion_if_fast() -> Recipe:
    """`dreamfusion_if` in a quarter of its evaluations."""
    return _fast(
        dreamfusion_if(), "dreamfusion_if in a quarter of its evaluations: 1 view, 5000 steps"
    )


def dreamfusion_sd_fast() -> Recipe:
    """`dreamfusion_sd` in a quarter of its evaluations."""
    return _fast(
        dreamfusion_sd(), "dreamfusion_sd in a quarter of its evaluations: 1 view, 5000 steps"
    )


def _fast(recipe: Recipe, summary: str) -> Recipe:
    return replace(recipe, name=f"{recipe.name}_fast", summary=summary, views=1)
