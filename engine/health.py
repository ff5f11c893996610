"""Failures inside a scene, seen early and by data on the device alone.

diverged    a loss, a gradient or a parameter is not finite
empty       nothing is left to see: the mean opacity of the views is next to 0
saturated   density fills the scene: the mean opacity of the rays that meet it is next to 1

Emptiness and saturation must last, since one unlucky view may show either. A verdict stays until
the slot has another scene. Axes: S slots, R rays.
"""

import math
from enum import IntEnum

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

EMPTY_OPACITY = 0.005
"""Mean opacity of a step's views under which they count as empty."""

SATURATED_OPACITY = 0.99
"""Mean opacity of a step's rays through the scene over which they count as filled."""

PATIENCE = 0.05
"""Part of the run for which every step must be empty, or filled, before the scene is given up."""


class Verdict(IntEnum):
    """What is known of a slot."""

    OK = 0
    DIVERGED = 1
    EMPTY = 2
    SATURATED = 3
    VACANT = 4


def nothing_bad(device: torch.device) -> Int[Tensor, "3"]:
    """What `Health.of` says of a new scene: OK, which is 0, and no step that was suspicious.

    Made on the device itself, so that nobody waits for it to come from the host.
    """
    return torch.zeros(3, dtype=torch.long, device=device)


class Health:
    """The verdicts of S slots, and for how many steps each has been suspicious."""

    def __init__(self, num_slots: int, iterations: int, device: torch.device) -> None:
        self._patience = math.ceil(PATIENCE * iterations)
        self._iterations = iterations
        self.verdict = torch.full((num_slots,), int(Verdict.VACANT), device=device)
        self._num_empty = torch.zeros_like(self.verdict)
        self._num_filled = torch.zeros_like(self.verdict)

    @property
    def is_sound(self) -> Bool[Tensor, "S"]:
        """Slots with a scene of which nothing bad is known."""
        return self.verdict == Verdict.OK

    def admit(self, slot: int, known: Int[Tensor, "3"]) -> None:
        """A scene is in this slot; `known` is what `of` said of it where it was before, or
        `nothing_bad`."""
        self.verdict[slot], self._num_empty[slot], self._num_filled[slot] = known

    def dismiss(self, slot: int) -> None:
        """Nobody is in this slot."""
        # What is put by index is copied from the host, which waits for that.
        self.verdict[slot].fill_(Verdict.VACANT)

    def of(self, slot: int) -> Int[Tensor, "3"]:
        """Verdict of a slot, and the suspicious steps in a row: empty ones, filled ones."""
        return torch.stack([self.verdict[slot], self._num_empty[slot], self._num_filled[slot]])

    def state(self) -> dict[str, Int[Tensor, "S"]]:
        """All of it, by name: the very buffers."""
        return {"verdict": self.verdict, "empty": self._num_empty, "filled": self._num_filled}

    def observe(
        self,
        step: Int[Tensor, "S"],
        is_finite: Bool[Tensor, "S"],
        opacity: Float[Tensor, "S R"],
        is_hit: Bool[Tensor, "S R"],
    ) -> None:
        """Judges one step of every slot; `is_hit` says which rays meet the scene's volume."""
        filled = opacity.sum(dim=-1) / is_hit.sum(dim=-1).clamp(min=1)
        is_empty = opacity.mean(dim=-1) < EMPTY_OPACITY
        # In place, here and below: a step that is replayed finds them where they were.
        self._num_empty.add_(1).mul_(is_empty)
        self._num_filled.add_(1).mul_(filled > SATURATED_OPACITY)
        # After the last step there is nothing to wait for: an empty asset is of no use.
        has_ended = step + 1 >= self._iterations
        found = torch.where(self._num_filled >= self._patience, Verdict.SATURATED, Verdict.OK)
        is_lost = (self._num_empty >= self._patience) | (has_ended & is_empty)
        found = torch.where(is_lost, Verdict.EMPTY, found)
        found = torch.where(is_finite, found, Verdict.DIVERGED)
        self.verdict.copy_(torch.where(self.is_sound, found, self.verdict))
