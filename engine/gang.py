"""The gang: S scenes that advance together under one resident diffusion model.

Parameters, optimiser state, step counts and random streams are stacked on a leading scene axis.
What differs between slots is data on the device, never a shape or a branch, so a slot fills or
empties without its neighbours noticing: a scene depends on its own (prompt, seed, recipe) alone.

Axes: S slots, V views, T tokens, D text features, W view words.
"""

import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from engine import fields, losses, occupancy, sds, viewpoints
from engine.configs.common import Span
from engine.fields import Parameters
from engine.guidance.guidance import Guidance
from engine.guidance.prompts import VIEWS, with_view
from engine.optimiser import Moments, adam_step
from engine.recipe import Recipe
from engine.render import Rendering, render
from engine.scene import Scene

EMPTY_OPACITY = 0.005
"""Mean opacity of the last views under which a scene counts as empty."""


@dataclass(frozen=True, kw_only=True)
class SceneRequest:
    """A prompt that wants a slot."""

    key: str
    prompt: str
    negative_prompt: str = ""
    seed: int


@dataclass(frozen=True, kw_only=True)
class FinishedScene:
    """A scene that has run its course."""

    key: str
    prompt: str
    seed: int
    scene: Scene
    status: str
    """ok, diverged (a gradient was not finite) or empty (nothing is left to see)."""
    iterations: int
    seconds: float
    """Time of the device, shared out among the slots that were busy."""
    losses: dict[str, float]
    """Values of the last step."""


@dataclass(eq=False)
class _Resident:
    request: SceneRequest
    step: int = 0
    seconds: float = 0.0


class Gang:
    """S slots on one device; a scene enters by `add` and leaves by `take_finished`."""

    def __init__(self, recipe: Recipe, guidance: Guidance, *, num_slots: int) -> None:
        """Raises ValueError if `num_slots` is not positive."""
        if num_slots < 1:
            raise ValueError(f"slots: expected 1 or more, got {num_slots}")
        self.recipe = recipe
        self._guidance = guidance
        self._device = guidance.device
        self._field = fields.build(recipe.field)
        self._residents: list[_Resident | None] = [None] * num_slots
        self._seed = torch.zeros(num_slots, dtype=torch.long, device=self._device)
        self._step = torch.zeros_like(self._seed)
        self._is_sound = torch.zeros(num_slots, dtype=torch.bool, device=self._device)
        self._parameters: Parameters = self._field.initial(self._seed)
        self._moments = Moments.zeros_like(self._parameters)
        self._density = occupancy.initial(self._field, self._parameters, recipe.march.grid_size)
        self._negative = guidance.encode([""]).repeat(num_slots, 1, 1)
        self._text = self._negative[:, None].repeat(1, len(VIEWS), 1, 1)
        self._last_losses: dict[str, Tensor] = {}
        self._charged_until: float | None = None

    @property
    def num_slots(self) -> int:
        """Scenes that fit."""
        return len(self._residents)

    @property
    def num_free(self) -> int:
        """Slots without a scene."""
        return self._residents.count(None)

    def progress(self) -> dict[str, float]:
        """Part of its run that each resident has behind it, by key."""
        total = self.recipe.iterations
        return {r.request.key: r.step / total for r in self._residents if r is not None}

    def add(self, request: SceneRequest) -> None:
        """Gives the request a free slot. Raises ValueError if there is none."""
        if self.num_free == 0:
            raise ValueError(f"gang: expected a free slot, all {self.num_slots} are taken")
        slot = self._residents.index(None)
        text = self._guidance.encode(
            [request.negative_prompt, *(with_view(request.prompt, view) for view in VIEWS)]
        )
        seed = torch.tensor([request.seed], device=self._device)
        fresh = self._field.initial(seed)
        for name, p in fresh.items():
            self._parameters[name][slot] = p[0]
            self._moments.first[name][slot] = 0.0
            self._moments.second[name][slot] = 0.0
        grid_size = self.recipe.march.grid_size
        self._density[slot] = occupancy.initial(self._field, fresh, grid_size)[0]
        self._seed[slot], self._step[slot], self._is_sound[slot] = request.seed, 0, True
        self._negative[slot], self._text[slot] = text[0], text[1:]
        self._residents[slot] = _Resident(request)

    def step(self) -> None:
        """One optimisation step of every busy slot."""
        busy = self._busy()
        if not busy:
            return
        if self._charged_until is None:
            self._charged_until = time.perf_counter()
        self._optimise()
        for resident in busy:
            resident.step += 1
        self._charge()

    def take_finished(self) -> list[FinishedScene]:
        """Empties the slots whose scenes are done and returns what became of them."""
        done = [r for r in self._busy() if r.step >= self.recipe.iterations]
        if not done:
            return []
        # One transfer for all slots. The host runs ahead of the device, and waits here for what is
        # still queued, which belongs to these scenes too.
        table = torch.stack([self._is_sound.float(), *self._last_losses.values()]).T.tolist()
        self._charge()
        finished = []
        for resident in done:
            slot = self._residents.index(resident)
            is_sound, *values = table[slot]
            last = dict(zip(self._last_losses, values, strict=True))
            finished.append(self._finish(slot, resident, bool(is_sound), last))
            self._residents[slot] = None
            self._is_sound[slot] = False
        if not self._busy():
            self._charged_until = None
        return finished

    def _busy(self) -> list[_Resident]:
        return [r for r in self._residents if r is not None]

    def _charge(self) -> None:
        """Shares the time since the last charge among the residents."""
        assert self._charged_until is not None
        now, busy = time.perf_counter(), self._busy()
        for resident in busy:
            resident.seconds += (now - self._charged_until) / len(busy)
        self._charged_until = now

    def _optimise(self) -> None:
        recipe, seed, step = self.recipe, self._seed, self._step
        part = (step / recipe.iterations).clamp(max=1.0)
        views = viewpoints.sample(recipe, seed, step, part)
        is_occupied = occupancy.occupied(self._density, recipe.march)
        leaves = {n: p.detach().requires_grad_() for n, p in self._parameters.items()}
        rendering = render(self._field, leaves, is_occupied, views, seed, step, recipe)
        terms = self._regularisers(leaves, rendering, part)
        terms["sds"] = self._distillation(rendering, views, part)
        total = torch.stack(list(terms.values())).sum()
        gradients = dict(
            zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True)
        )
        self._is_sound &= _all_finite(gradients)
        adam_step(
            self._parameters,
            gradients,
            self._moments,
            count=step + 1,
            lr=_cosine(recipe.optimiser.lr, part),
            is_active=self._is_sound & (step < recipe.iterations),
            betas=recipe.optimiser.betas,
            eps=recipe.optimiser.eps,
        )
        self._density = occupancy.refresh(
            self._density, self._field, self._parameters, seed, step, recipe.march
        )
        self._step += 1
        self._last_losses = {name: term.detach() for name, term in terms.items()}
        self._last_losses["mean_opacity"] = rendering.opacity.detach().mean(dim=-1)

    def _distillation(
        self, rendering: Rendering, views: viewpoints.Viewpoints, part: Float[Tensor, "S"]
    ) -> Float[Tensor, "S"]:
        """A term whose gradient with respect to the pictures is `sds`'s, mean over views."""
        picture = rendering.picture
        size = self._guidance.size
        x = picture.flatten(0, 1)
        if picture.shape[-1] != size:
            x = F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
        x = (2.0 * x - 1.0).unflatten(0, picture.shape[:2])
        config = self.recipe.distillation
        num_views = picture.shape[1]
        words = views.word[..., None, None].expand(-1, -1, *self._text.shape[2:])
        gradient = sds.picture_gradient(
            self._guidance,
            x.detach(),
            self._text.gather(1, words),
            self._negative[:, None].expand(-1, num_views, -1, -1),
            sds.draw_time(config, self._seed, self._step, part, num_views),
            self._seed,
            self._step,
            config,
        )
        return (gradient * x).sum(dim=(1, 2, 3, 4)) / num_views

    def _regularisers(
        self, parameters: Parameters, rendering: Rendering, part: Float[Tensor, "S"]
    ) -> dict[str, Float[Tensor, "S"]]:
        """The recipe's weighted regularisers, by name; those of weight 0 are left out."""
        weights = self.recipe.losses
        terms = {}
        if weights.opacity:
            terms["opacity"] = weights.opacity * losses.opacity(rendering.opacity)
        if any(weights.entropy):
            terms["entropy"] = _linear(weights.entropy, part) * losses.entropy(rendering.opacity)
        if weights.total_variation:
            roughness = self._field.total_variation(parameters)
            terms["total_variation"] = weights.total_variation * roughness
        if weights.orientation:
            assert rendering.normal is not None
            terms["orientation"] = weights.orientation * losses.orientation(
                rendering.weights, rendering.normal, rendering.directions
            )
        return terms

    def _finish(
        self, slot: int, resident: _Resident, is_sound: bool, last_losses: dict[str, float]
    ) -> FinishedScene:
        status = "ok"
        if not is_sound:
            status = "diverged"
        elif last_losses["mean_opacity"] < EMPTY_OPACITY:
            status = "empty"
        parameters = {n: p[slot : slot + 1].clone() for n, p in self._parameters.items()}
        return FinishedScene(
            key=resident.request.key,
            prompt=resident.request.prompt,
            seed=resident.request.seed,
            scene=Scene(self.recipe.field, parameters),
            status=status,
            iterations=resident.step,
            seconds=resident.seconds,
            losses=last_losses,
        )


def _linear(span: Span, part: Float[Tensor, "S"]) -> Float[Tensor, "S"]:
    """Anneals linearly from the first value to the last."""
    return span[0] + (span[1] - span[0]) * part


def _cosine(span: Span, part: Float[Tensor, "S"]) -> Float[Tensor, "S"]:
    """Anneals along half a cosine from the first value to the last."""
    return span[1] + 0.5 * (span[0] - span[1]) * (1.0 + torch.cos(torch.pi * part))


def _all_finite(gradients: Parameters) -> Bool[Tensor, "S"]:
    """Which scenes have only finite gradients; one number is looked at a tensor and scene."""
    # A sum is finite only if all its terms are (an overflow is as bad a sign).
    sums = [g.flatten(1).sum(dim=1) for g in gradients.values()]
    return torch.stack(sums).isfinite().all(dim=0)
