"""What a step descends: score distillation and regularisers of a rendering, and their gradient.

Axes: S scenes, V views, R rays.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from engine import occupancy, regularisers, sds, viewpoints
from engine.fields import Field, Parameters
from engine.guidance.guidance import Guidance
from engine.recipe import Recipe
from engine.render import Rendering, render
from engine.texts import SlotTexts


@dataclass(frozen=True)
class Descent:
    """One step's rendering, and which way is down."""

    rendering: Rendering
    terms: dict[str, Float[Tensor, "S"]]
    """Of the objective, by name; that of the distillation has its gradient, not its value."""
    gradients: Parameters


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The objective of a recipe's scenes under a diffusion model."""

    recipe: Recipe
    field: Field
    guidance: Guidance
    texts: SlotTexts
    lap: Callable[[str], None]
    """Told behind each part of a step what it was; see `Gang.part_seconds`."""
    ray_chunk: int | None = None
    """As in `engine.render`."""

    def descend(
        self,
        parameters: Parameters,
        density: Float[Tensor, "S cells"],
        seed: Int[Tensor, "S"],
        step: Int[Tensor, "S"],
        part: Float[Tensor, "S"],
    ) -> Descent:
        """The gradient at these parameters, from views that seed and step decide."""
        recipe = self.recipe
        views = viewpoints.sample(recipe, seed, step, part)
        is_occupied = occupancy.occupied(density, recipe.march)
        leaves = {n: p.detach().requires_grad_() for n, p in parameters.items()}
        self.lap("other")
        rendering = render(
            self.field,
            leaves,
            is_occupied,
            views,
            seed,
            step,
            part,
            recipe,
            ray_chunk=self.ray_chunk,
        )
        terms = regularisers.weighted(recipe.losses, self.field, leaves, rendering, part)
        self.lap("field")
        sums = [torch.stack(list(terms.values())).sum()] if terms else []
        terms["sds"], slope = self.distil(rendering.picture, views, seed, step, part)
        found = torch.autograd.grad(
            [*sums, rendering.picture],
            list(leaves.values()),
            [*(torch.ones_like(total) for total in sums), slope],
        )
        self.lap("field")
        return Descent(rendering, terms, dict(zip(leaves, found, strict=True)))

    def distil(
        self,
        picture: Float[Tensor, "S V 3 h w"],
        views: viewpoints.Viewpoints,
        seed: Int[Tensor, "S"],
        step: Int[Tensor, "S"],
        part: Float[Tensor, "S"],
    ) -> tuple[Float[Tensor, "S"], Float[Tensor, "S V 3 h w"]]:
        """A term whose gradient with respect to the pictures is `sds`'s, mean over views; and that
        gradient."""
        size = self.guidance.size
        x = picture.flatten(0, 1)
        if picture.shape[-1] != size:
            x = F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
        x = 2.0 * x - 1.0
        z = self.guidance.represent(x)
        is_encoded = z is not x
        z = z.unflatten(0, picture.shape[:2])
        config = self.recipe.distillation
        num_views = picture.shape[1]
        gradient = sds.picture_gradient(
            self.guidance,
            z.detach(),
            self.texts.asked(views),
            self.texts.negative(views),
            sds.draw_time(config, seed, step, part, num_views),
            seed,
            step,
            config,
            self.texts.denial(views),
        )
        self.lap("unet" if config.gradient == "full" else "other")
        term = (gradient * z).sum(dim=(1, 2, 3, 4)) / num_views
        (slope,) = torch.autograd.grad(term.sum(), picture)
        self.lap("vae" if is_encoded else "other")
        return term.detach(), slope
