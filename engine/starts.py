"""Where a scene starts: at its first step, or at the one that its checkpoint was saved after.

Initial parameters are a function of the recipe and the seed alone, the same on any machine. Axes:
S scenes.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from engine import background, checkpoint, fields, occupancy
from engine.checkpoint import Checkpoint, SceneState
from engine.fields import Parameters
from engine.health import nothing_bad
from engine.optimiser import Moments
from engine.recipe import Recipe


@dataclass(frozen=True)
class Starts:
    """The starts of a recipe's scenes on one device."""

    recipe: Recipe
    device: torch.device

    def parameters(self, seed: Int[Tensor, "S"]) -> Parameters:
        """Fresh parameters of the field and of what is behind it."""
        field = fields.build(self.recipe.field)
        return field.initial(seed) | background.initial(self.recipe.background, seed)

    def fresh(self, seed: int) -> SceneState:
        """A scene before its first step."""
        parameters = self._of_one(seed)
        nothing = Moments.zeros_like(parameters)
        alone = {name: p[None] for name, p in parameters.items()}
        field = fields.build(self.recipe.field)
        density = occupancy.initial(field, alone, self.recipe.march.grid_size)
        return SceneState(
            parameters=parameters,
            first=nothing.first,
            second=nothing.second,
            density=density[0],
            health=nothing_bad(self.device),
        )

    def resumed(self, saved: Checkpoint) -> SceneState:
        """The scene of a checkpoint. ValueError if it is of another recipe, or not in mid-run."""
        saved.expect(recipe_digest=self.recipe.digest())
        if not 0 <= saved.step < self.recipe.iterations:
            raise ValueError(
                f"checkpoint: expected 0 to {self.recipe.iterations - 1} steps, got {saved.step}"
            )
        start = self._of_one(saved.seed)
        return checkpoint.unpack(saved.tensors, start, self.recipe.march.grid_size**3)

    def _of_one(self, seed: int) -> Parameters:
        """As `parameters`, of one scene and without the scene axis."""
        fresh = self.parameters(torch.full((1,), seed, dtype=torch.long, device=self.device))
        return {name: p[0] for name, p in fresh.items()}
