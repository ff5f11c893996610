"""All that chance decides in a simulation. The same assumptions draw the same, whatever the host.

A prompt's own properties follow from its row; everything else is drawn in the order of events, in a
stream for each purpose, so that another rate of preemption leaves the fates of the attempts alone.
"""

import random
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.simulation.assumptions import Assumptions

Fate = Literal["made", "diverged", "empty", "crash", "hang", "out_of_memory", "internal", "export"]
AILMENTS: tuple[Fate, ...] = ("out_of_memory", "internal", "export")
"""What becomes of every attempt on a bad GPU, each on a third of them."""


@dataclass(frozen=True, kw_only=True)
class End:
    """How an attempt ends, and after which part of its work."""

    fate: Fate
    part: float


class Draws:
    """Draws from the distributions that the assumptions state."""

    def __init__(self, assumptions: Assumptions) -> None:
        given = self._assumptions = assumptions
        prompts = np.random.default_rng([given.seed, 0])
        normal = prompts.standard_normal(given.prompts)
        mean = given.seconds_per_asset * given.slots
        self._work = mean * np.exp(given.spread * normal - given.spread**2 / 2)
        self._is_poison = prompts.random(given.prompts) < given.poison
        self._fates = random.Random(f"{given.seed}/fates")
        self._nodes = random.Random(f"{given.seed}/nodes")
        self._gpus = random.Random(f"{given.seed}/gpus")
        self._store = random.Random(f"{given.seed}/store")
        self._times = random.Random(f"{given.seed}/times")

    @property
    def num_poison(self) -> int:
        """Prompts that kill every actor."""
        return int(self._is_poison.sum())

    def work(self, row: int) -> float:
        """The work of a prompt: lognormal with the mean that is assumed."""
        return float(self._work[row])

    def end(self, row: int, *, is_frugal: bool) -> End:
        """The fate of an attempt."""
        draw, part = self._fates.random(), self._fates.random()
        if self._is_poison[row]:
            return End(fate="crash", part=part)
        given = self._assumptions
        shares: tuple[tuple[Fate, float], ...] = (
            ("diverged", given.diverged),
            ("empty", given.empty),
            ("crash", given.crashes),
            ("hang", given.hangs),
            ("out_of_memory", 0.0 if is_frugal else given.out_of_memory),
        )
        for fate, share in shares:
            if draw < share:
                return End(fate=fate, part=1.0 if fate == "empty" else part)
            draw -= share
        return End(fate="made", part=1.0)

    def ailment(self) -> Fate | None:
        """The fate of all attempts on a GPU if it is a bad one."""
        is_bad = self._gpus.random() < self._assumptions.bad_gpus
        return self._gpus.choice(AILMENTS) if is_bad else None

    def load_seconds(self) -> float:
        """From the start of an actor to its first step."""
        return self._about(self._assumptions.load_seconds)

    def publish_seconds(self) -> float:
        """Export and upload of one asset."""
        return self._about(self._assumptions.publish_seconds)

    def life_seconds(self) -> float | None:
        """How long a node lives, without memory; None for ever."""
        rate = self._assumptions.preempted_per_hour
        return 3600.0 * self._nodes.expovariate(rate) if rate else None

    def is_noticed(self) -> bool:
        """Whether the end of a node is announced."""
        return self._nodes.random() < self._assumptions.noticed

    def is_unreachable(self) -> bool:
        """Whether a node that seems lost lives on."""
        return self._nodes.random() < self._assumptions.unreachable

    def replacement_seconds(self) -> float:
        """Until a new node takes the place of a lost one."""
        mean = 60.0 * self._assumptions.replacement_minutes
        return self._nodes.expovariate(1 / mean) if mean else 0.0

    def is_refused(self) -> bool:
        """Whether the store refuses a request."""
        return self._store.random() < self._assumptions.store_errors

    def is_unanswered(self) -> bool:
        """Whether the answer to a write is lost."""
        return self._store.random() < self._assumptions.lost_answers

    def _about(self, mean: float) -> float:
        return mean * self._times.uniform(0.8, 1.2)
