"""The gang: S scenes that advance together under one resident diffusion model.

Parameters, optimiser state, step counts and random streams are stacked on a leading scene axis.
What differs between slots is data on the device, never a shape or a branch, so a slot fills or
empties without its neighbours noticing: a scene depends on its own (prompt, seed, recipe) alone.

Axes: S slots, V views, T tokens, D text features, W view words.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engine import background, checkpoint, fields, occupancy
from engine.aside import mark
from engine.charges import Account, Charges
from engine.checkpoint import Checkpoint, SceneState
from engine.fields import Parameters
from engine.guidance.guidance import Guidance
from engine.guidance.timed import TimedGuidance
from engine.health import Health, Verdict
from engine.leash import Leash
from engine.lookout import Lookout
from engine.objective import Objective
from engine.optimiser import Moments, Optimiser, adam_step, learning_rate
from engine.recipe import Recipe
from engine.replay import CudaRecorder, Recorder, Replay
from engine.scene import Scene
from engine.starts import Starts
from engine.stopwatch import Stopwatch
from engine.texts import SlotTexts

FRUGAL_RAYS = 2048
"""Rays of a scene that are rendered at a time where memory is short; see `engine.render`."""

_LOOK_EVERY = 16
"""Steps between looks for scenes that have failed."""


@dataclass(frozen=True, kw_only=True)
class SceneRequest:
    """A prompt that wants a slot."""

    key: str
    prompt: str
    negative_prompt: str = ""
    seed: int
    text: Float[Tensor, "texts T D"] | None = dataclasses.field(default=None, compare=False)
    """What `prompts.texts_of` makes of it, embedded; None: the guidance embeds it."""
    checkpoint: bytes | None = dataclasses.field(default=None, compare=False, repr=False)
    """What `Gang.save` made of it; None: it starts from the beginning."""


@dataclass(frozen=True, kw_only=True)
class FinishedScene:
    """A scene that has run its course, or has failed on its way."""

    key: str
    prompt: str
    seed: int
    scene: Scene
    status: str
    """ok, diverged, empty or saturated; see `engine.health`."""
    iterations: int
    """Steps done, fewer than the recipe's where the scene failed."""
    seconds: float
    """Its share of the time of the steps that it had part in; see `engine.charges`."""
    losses: dict[str, float]
    """Values of the last step."""
    ready: torch.cuda.Event | None = dataclasses.field(default=None, compare=False, repr=False)
    """When the device has the scene; see `engine.aside`."""


@dataclass(eq=False)
class _Resident:
    request: SceneRequest
    step: int = 0
    account: Account = dataclasses.field(default_factory=Account)


class Gang:
    """S slots on one device; a scene enters by `add` and leaves by `take_finished`."""

    def __init__(
        self,
        recipe: Recipe,
        guidance: Guidance,
        *,
        num_slots: int,
        ray_chunk: int | None = None,
        capture: bool = True,
        recorder: Recorder | None = None,
        optimiser: Optimiser | None = None,
    ) -> None:
        """`ray_chunk` is `engine.render`'s. `optimiser` takes Adam's place: it starts anew with
        every scene that comes, also with one from a checkpoint.

        With `capture` a step is recorded as CUDA graphs once the first few are done (see
        `engine.replay`); on other devices it says nothing. `recorder` takes the graphs' place. With
        an `optimiser` of one's own neither is heeded.
        Raises ValueError if `num_slots` is not positive.
        """
        if num_slots < 1:
            raise ValueError(f"slots: expected 1 or more, got {num_slots}")
        self.recipe = recipe
        self._device = guidance.device
        stopwatch = Stopwatch(self._device)
        self._charges = Charges(stopwatch)
        if capture and self._device.type == "cuda" and recorder is None:
            recorder = CudaRecorder(self._device)
        # Nobody knows whether another optimiser waits for the device.
        self._replay = Replay(stopwatch, recorder if optimiser is None else None)
        self._optimiser = optimiser
        self._field = fields.build(recipe.field)
        self._residents: list[_Resident | None] = [None] * num_slots
        self._seed = torch.zeros(num_slots, dtype=torch.long, device=self._device)
        self._step = torch.zeros_like(self._seed)
        self._health = Health(num_slots, recipe.iterations, self._device)
        self._lookout = Lookout[_Resident | None]()
        self._leash = Leash(self._device)
        self._num_steps = 0
        self._starts = Starts(recipe, self._device)
        self._parameters = self._starts.parameters(self._seed)
        self._moments = Moments.zeros_like(self._parameters)
        self._density = occupancy.initial(self._field, self._parameters, recipe.march.grid_size)
        self._texts = SlotTexts(recipe.distillation, guidance, num_slots)
        self._objective = Objective(
            recipe=recipe,
            field=self._field,
            guidance=TimedGuidance(guidance, self._replay),
            texts=self._texts,
            lap=self._replay.lap,
            ray_chunk=ray_chunk,
        )
        self._last_losses: dict[str, Tensor] = {}

    @property
    def num_slots(self) -> int:
        """Scenes that fit."""
        return len(self._residents)

    @property
    def num_free(self) -> int:
        """Slots without a scene."""
        return self._residents.count(None)

    @property
    def num_graphs(self) -> int:
        """CUDA graphs by which a step is replayed; 0 before they are recorded, or without."""
        return self._replay.num_graphs

    def progress(self) -> dict[str, float]:
        """Part of its run that each resident has behind it, by key."""
        total = self.recipe.iterations
        return {r.request.key: r.step / total for r in self._residents if r is not None}

    def seconds(self) -> dict[str, float]:
        """What each resident has cost so far, by key, as far as the device has come; see
        `engine.charges`."""
        return {r.request.key: r.account.seconds for r in self._residents if r is not None}

    def part_seconds(self) -> list[dict[str, float]]:
        """Time of the device in the parts of each step that it has done since the last call.

        unet   forwards of the diffusion model, and its gradient where the recipe asks for that
        vae    an image encoder's forward and its gradient, where the model has one
        field  rendering, regularisers, and their gradient
        other  all else: cameras, noise, the optimiser, the occupancy
        """
        return self._charges.read()

    def add(self, request: SceneRequest) -> int:
        """Gives the request a free slot; returns the steps its checkpoint had behind it.

        The device is not waited for where the request brings its text along.
        Raises ValueError, and changes nothing, if a resident has its key, if there is no slot or no
        text for it, or if the checkpoint is damaged or of another scene.
        """
        if request.key in self.progress():
            raise ValueError(f"gang: expected a key that no resident has, got {request.key!r}")
        if self.num_free == 0:
            raise ValueError(f"gang: expected a free slot, all {self.num_slots} are taken")
        slot = self._residents.index(None)
        text = self._texts.embed(request.prompt, request.negative_prompt, request.text)
        resident = _Resident(request)
        if request.checkpoint is None:
            state = self._starts.fresh(request.seed)
        else:
            saved = Checkpoint.from_bytes(request.checkpoint)
            saved.expect(key=request.key, seed=request.seed)
            state = self._starts.resumed(saved)
            resident.step, resident.account.seconds = saved.step, saved.seconds
        for name in self._parameters:
            self._parameters[name][slot] = state.parameters[name]
            self._moments.first[name][slot] = state.first[name]
            self._moments.second[name][slot] = state.second[name]
        self._density[slot] = state.density
        # What is put by index is copied from the host, which waits for that.
        self._seed[slot].fill_(request.seed)
        self._step[slot].fill_(resident.step)
        self._health.admit(slot, state.health)
        self._texts.put(slot, text)
        if self._optimiser is not None:
            self._optimiser.admit(slot)
        self._residents[slot] = resident
        return resident.step

    def save(self, key: str) -> Checkpoint:
        """A copy of a resident as it is, packed on the device; nothing there is waited for.

        Raises ValueError if no resident has this key.
        """
        slots = [k for k, r in enumerate(self._residents) if r and r.request.key == key]
        if not slots:
            raise ValueError(f"gang: expected the key of a resident, got {key!r}")
        (slot,) = slots
        resident = self._residents[slot]
        assert resident is not None
        state = SceneState(
            parameters=_row(self._parameters, slot),
            first=_row(self._moments.first, slot),
            second=_row(self._moments.second, slot),
            density=self._density[slot],
            health=self._health.of(slot),
        )
        start = _row(self._starts.parameters(self._seed[slot : slot + 1]), 0)
        return Checkpoint(
            key=key,
            seed=resident.request.seed,
            recipe_digest=self.recipe.digest(),
            step=resident.step,
            seconds=resident.account.seconds,
            tensors=checkpoint.pack(state, start),
        )

    def state(self) -> dict[str, Tensor]:
        """All that a step changes and the next depends on, by name: the very buffers."""
        first, second = self._moments.first, self._moments.second
        return {
            **{f"parameter {name}": p for name, p in self._parameters.items()},
            **{f"first {name}": m for name, m in first.items()},
            **{f"second {name}": m for name, m in second.items()},
            "density": self._density,
            "seed": self._seed,
            "step": self._step,
            **self._health.state(),
        }

    def step(self) -> None:
        """One optimisation step of every busy slot."""
        busy = self._busy()
        if not busy:
            return
        self._replay.step(self._optimise, "other")
        self._charges.book(resident.account for resident in busy)
        self._leash.hold()
        for resident in busy:
            resident.step += 1
        self._num_steps += 1
        if self._num_steps % _LOOK_EVERY == 0:
            self._lookout.send(self._table(), self._residents)
        self._charges.settle()

    def take_finished(self) -> list[FinishedScene]:
        """Empties the slots whose scenes are done or have failed; says what became of them.

        A failure is seen within some steps of it: a look at the device never waits for it.
        """
        finished = []
        for slot, row in self._leaving():
            finished.append(self._finish(slot, row))
            self._residents[slot] = None
            self._health.dismiss(slot)
        return finished

    def _leaving(self) -> Iterator[tuple[int, list[float]]]:
        """Slots to be emptied, with their rows of the table."""
        if any(r.step >= self.recipe.iterations for r in self._busy()):
            # One transfer for all slots. The host runs ahead of the device, and waits here for
            # what is still queued, of which these scenes are charged with their shares, too.
            owners, rows = list(self._residents), self._table().tolist()
        elif (seen := self._lookout.receive()) is not None:
            owners, rows = seen
        else:
            return
        for slot, (owner, row) in enumerate(zip(owners, rows, strict=True)):
            # The slot may have another scene since the table was sent.
            if owner is None or owner is not self._residents[slot]:
                continue
            if owner.step >= self.recipe.iterations or row[0] != Verdict.OK:
                yield slot, row

    def _table(self) -> Float[Tensor, "S K"]:
        """Verdict, steps done and last losses of every slot."""
        columns = (self._health.verdict, self._step, *self._last_losses.values())
        return torch.stack([column.float() for column in columns], dim=1)

    def _busy(self) -> list[_Resident]:
        return [r for r in self._residents if r is not None]

    def _optimise(self) -> None:
        """A step. Whatever outlives it is changed in place, so that it can be replayed."""
        recipe, seed, step = self.recipe, self._seed, self._step
        part = (step / recipe.iterations).clamp(max=1.0)
        found = self._objective.descend(self._parameters, self._density, seed, step, part)
        rendering, terms, gradients = found.rendering, found.terms, found.gradients
        losses = torch.stack([term.detach() for term in terms.values()])
        is_running = self._health.is_sound & (step < recipe.iterations)
        is_finite = _all_finite(gradients) & losses.sum(dim=0).isfinite()
        self._follow(gradients, part, is_running & is_finite)
        self._density.copy_(
            occupancy.refresh(
                self._density, self._field, self._parameters, seed, step, part, recipe.march
            )
        )
        is_finite &= _all_finite(self._parameters)
        self._health.observe(step, is_finite, rendering.opacity, rendering.delta[..., 0] > 0)
        self._step.add_(is_running)
        for name, term in {**terms, "mean_opacity": rendering.opacity.mean(dim=-1)}.items():
            if name in self._last_losses:
                # What has ended keeps the values of its last step.
                kept = self._last_losses[name]
                kept.copy_(torch.where(is_running, term.detach(), kept))
            else:
                self._last_losses[name] = term.detach().clone()

    def _follow(
        self, gradients: Parameters, part: Float[Tensor, "S"], is_active: Bool[Tensor, "S"]
    ) -> None:
        """Moves the active scenes' parameters."""
        config = self.recipe.optimiser
        lr = learning_rate(config, part)
        if self._optimiser is not None:
            self._optimiser.step(self._parameters, gradients, lr=lr, is_active=is_active)
            return
        adam_step(
            self._parameters,
            gradients,
            self._moments,
            count=self._step + 1,
            lr=lr,
            is_active=is_active,
            betas=config.betas,
            eps=config.eps,
            background_rate=config.background_rate,
        )

    def _finish(self, slot: int, row: list[float]) -> FinishedScene:
        resident = self._residents[slot]
        assert resident is not None
        verdict, num_steps, *values = row
        parameters = {
            name: p[slot : slot + 1].clone()
            for name, p in self._parameters.items()
            if not name.startswith(background.PREFIX)
        }
        return FinishedScene(
            key=resident.request.key,
            prompt=resident.request.prompt,
            seed=resident.request.seed,
            scene=Scene(self.recipe.field, parameters, region=self.recipe.march.region),
            status=Verdict(int(verdict)).name.lower(),
            iterations=int(num_steps),
            seconds=self._charges.close(resident.account),
            losses=dict(zip(self._last_losses, values, strict=True)),
            ready=mark(self._device),
        )


def _row(tensors: Parameters, slot: int) -> Parameters:
    """One scene's part, as views."""
    return {name: t[slot] for name, t in tensors.items()}


def _all_finite(tensors: Parameters) -> Bool[Tensor, "S"]:
    """Which scenes have only finite values; one number is looked at a tensor and scene."""
    # A sum is finite only if all its terms are (an overflow is as bad a sign).
    sums = [t.sum(dim=tuple(range(1, t.dim()))) for t in tensors.values()]
    return torch.stack(sums).isfinite().all(dim=0)
