"""What a simulated cluster is taken to be. Every figure of a report rests on these and the seed."""

import math
from dataclasses import dataclass, fields

from pipeline.errors import UserError

_SHARES = (
    "single_share",
    "noticed",
    "unreachable",
    "diverged",
    "empty",
    "crashes",
    "hangs",
    "out_of_memory",
    "poison",
    "bad_gpus",
    "store_errors",
    "lost_answers",
)
_COUNTS = ("prompts", "gpus", "slots", "nodes_of", "wave")
_POSITIVE = ("nodes_per_minute", "hang_minutes")


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """Work, cluster, and what goes wrong. Shares are from 0 to 1, "an attempt" is one try at one
    asset; delays are exponential about their means, load and publish times uniform within 20 %."""

    prompts: int = 100_000
    """Assets to make."""
    gpus: int = 1000
    """GPUs, each with one actor."""
    slots: int = 8
    """Prompts that an actor optimises together."""
    seconds_per_asset: float = 60.0
    """Device seconds that an asset takes in a full gang, on average. In seconds of the clock it
    takes as many times more as there are slots."""
    spread: float = 0.3
    """Standard deviation of the logarithm of that time, between prompts."""
    single_share: float = 0.4
    """Time of a step of one scene alone, as a part of that of a full gang."""
    publish_seconds: float = 5.0
    """Export and upload of an asset, beside its gang."""
    nodes_of: int = 8
    """GPUs of a node: they come and go together."""
    nodes_per_minute: float = 12.0
    """Nodes that start in a minute, at the beginning."""
    wave: int = 100
    """Actors that load at the same time."""
    load_seconds: float = 90.0
    """From the start of an actor to its first step."""
    preempted_per_hour: float = 0.05
    """Rate at which a node is taken away, whatever its age."""
    noticed: float = 0.8
    """Share of these that are announced, so that their actors can leave in order."""
    notice_seconds: float = 25.0
    """From the announcement to the end of a node."""
    replacement_minutes: float = 10.0
    """Until a node that was taken away is replaced, on average."""
    unreachable: float = 0.02
    """Share of the other losses in which the node lives on unseen and finishes what it has."""
    checkpoint_minutes: float = 10.0
    """How old the newest checkpoint of a scene may become; 0: none are written."""
    hang_minutes: float = 15.0
    """After how long an actor that does not move is replaced."""
    diverged: float = 0.01
    """Attempts whose scene becomes NaN somewhere on its way."""
    empty: float = 0.005
    """Attempts that end with nothing to see."""
    crashes: float = 1e-4
    """Attempts that take their actor's process with them, once."""
    hangs: float = 1e-5
    """Attempts that bring their actor to a standstill, once."""
    out_of_memory: float = 1e-5
    """Attempts that exhaust their device's memory, unless they are made frugally."""
    poison: float = 1e-5
    """Prompts that kill every actor that optimises them."""
    bad_gpus: float = 0.0
    """GPUs on which every attempt fails within seconds: out of memory, by an error, or at export.
    A new actor finds its GPU as bad as it was."""
    store_errors: float = 1e-3
    """Requests that the object store refuses (503, 429)."""
    lost_answers: float = 1e-4
    """Writes that the store does and whose answer is lost."""
    seed: int = 0
    """All that is drawn follows from it."""

    @property
    def num_nodes(self) -> int:
        """Nodes of the whole cluster; the last one may be used in part."""
        return -(-self.gpus // self.nodes_of)

    @property
    def checkpoint_seconds(self) -> float:
        """Between two checkpoints of a scene; infinite for none."""
        return 60.0 * self.checkpoint_minutes or math.inf

    def check(self) -> None:
        """UserError for the first assumption that makes no sense."""
        for field in fields(self):
            value = getattr(self, field.name)
            least = 1 if field.name in _COUNTS else 0
            most = 1 if field.name in _SHARES else math.inf
            flag = f"--{field.name.replace('_', '-')}"
            if not least <= value <= most or math.isinf(value):
                limit = f"from {least} to {most}" if most == 1 else f"{least} or more"
                raise UserError(f"{flag}: expected {limit}, got {value}")
            if field.name in _POSITIVE and value == 0:
                raise UserError(f"{flag}: expected more than 0, got {value}")
        if not self.single_share:
            raise UserError("--single-share: expected more than 0, got 0")
        fates = self.diverged + self.empty + self.crashes + self.hangs + self.out_of_memory
        if fates > 1:
            raise UserError(
                "--diverged, --empty, --crashes, --hangs and --out-of-memory: expected no more "
                f"than 1 together, got {fates:g}"
            )
