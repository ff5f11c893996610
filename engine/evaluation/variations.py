"""Recipes that are held side by side under names of their own, and how far their shapes are off."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from engine.evaluation.benchmark import distance
from engine.evaluation.chamfer import Chamfer
from engine.evaluation.manner import Manner
from engine.evaluation.trials import Outcome
from engine.optimiser import Optimiser
from engine.primitives.grammar import Spec
from engine.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Variation:
    """A recipe, and what sets it apart from those beside it."""

    name: str
    recipe: Recipe
    manner: Manner | None = None
    """Where it is what is varied; None: as whoever runs it says."""
    optimiser: Callable[[], Optimiser] | None = None
    """What makes one, in the place of the recipe's; the name says which."""


def chamfers(outcome: Outcome, specs: Sequence[Spec], ruler: Chamfer) -> list[float]:
    """From each scene's mesh to the true shape; infinite where there is no mesh."""
    with ThreadPoolExecutor() as pool:
        return list(
            pool.map(
                lambda scene, spec: distance(scene, spec, ruler, outcome.recipe.export),
                outcome.scenes,
                specs,
            )
        )
