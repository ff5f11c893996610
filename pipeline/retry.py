"""What happens to an asset after a failed attempt: one table from error kind to policy.

A failure is *charged* when it counts against its prompt. A prompt that was merely present when its
actor died, or when a neighbour broke the gang, is a *suspect*: that is not charged, but it runs
again alone, so that the next death has one possible cause.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Change = Literal["same", "new_seed", "alone", "frugal"]
"""What is different in the next attempt; `frugal`: alone, and in as little memory as possible."""

MAX_CHARGED = 4
"""Charged failures of any kinds after which a prompt is given up."""

MOST_IN_COMPANY = 5
"""Machines that may go away under a prompt before it is made alone: it may be what takes them."""

STORE_DELAYS_SECONDS = (0.5, 2.0, 8.0)
"""Pauses between the attempts of an actor to write one finished asset."""

_MEMORY_SIGNS = ("outofmemory", "out of memory", "can't allocate memory")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How often one kind of failure is tried again, with which change, and whether it counts.

    `retries` is None where nothing is ever given up for it. `elsewhere`: the actor may be at fault,
    so that the next attempt is made by another one if there is one.
    """

    retries: int | None
    change: Change
    charged: bool = True
    elsewhere: bool = False
    meaning: str


TABLE: dict[str, Policy] = {
    "diverged": Policy(retries=2, change="new_seed", meaning="the scene became NaN or infinite"),
    "empty": Policy(retries=2, change="new_seed", meaning="nothing opaque is left in the scene"),
    "saturated": Policy(retries=2, change="new_seed", meaning="density fills the whole scene"),
    "out_of_memory": Policy(
        retries=1,
        change="frugal",
        elsewhere=True,
        meaning="the device's memory was exhausted by this one alone",
    ),
    "gang_out_of_memory": Policy(
        retries=None,
        change="same",
        charged=False,
        meaning="the device's memory was exhausted by a gang, which was made smaller, or by it and "
        "exports beside it, which were made fewer",
    ),
    "export": Policy(
        retries=1, change="new_seed", elsewhere=True, meaning="views or mesh could not be made"
    ),
    "store": Policy(
        retries=2, change="same", elsewhere=True, meaning="the output refused the finished asset"
    ),
    "encode": Policy(
        retries=None,
        change="same",
        charged=False,
        meaning="its texts could not be had from the text encoder, or not by way of the output",
    ),
    "internal": Policy(
        retries=1, change="alone", elsewhere=True, meaning="an error that no other kind names"
    ),
    "suspect": Policy(
        retries=3,
        change="alone",
        charged=False,
        elsewhere=True,
        meaning="its gang died while others were in it",
    ),
    "node_lost": Policy(
        retries=None, change="same", charged=False, meaning="its machine went away"
    ),
    "preempted": Policy(
        retries=None,
        change="same",
        charged=False,
        meaning="its actor was asked to leave; a checkpoint keeps what it had, if one was written",
    ),
    "actor_died": Policy(
        retries=1,
        change="alone",
        elsewhere=True,
        meaning="its actor's process died with nobody else in it",
    ),
    "hung": Policy(
        retries=1,
        change="alone",
        elsewhere=True,
        meaning="its actor did not move, with nobody else",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Decision:
    """`change` of the next attempt, or None: the asset is given up and quarantined."""

    change: Change | None

    @property
    def gives_up(self) -> bool:
        """Whether there is no next attempt."""
        return self.change is None


def policy(kind: str) -> Policy:
    """The policy of an error kind; one the table does not know counts as `internal`."""
    return TABLE.get(kind, TABLE["internal"])


def decide(history: Sequence[str]) -> Decision:
    """What follows the last failure in `history`, the error kinds of one asset in order.

    Given up when its kind has been retried as often as its policy allows, or when the charged
    failures together reach `MAX_CHARGED`. Who lost `MOST_IN_COMPANY` machines goes on alone.
    """
    assert history, "decide() is asked after a failure"
    kind = history[-1]
    rule = policy(kind)
    num_charged = sum(policy(past).charged for past in history)
    number = Counter(history)[kind]
    is_spent = rule.retries is not None and number > rule.retries
    if is_spent or num_charged >= MAX_CHARGED:
        return Decision(change=None)
    if kind == "node_lost" and number >= MOST_IN_COMPANY:
        return Decision(change="alone")
    return Decision(change=rule.change)


def changes(history: Sequence[str]) -> list[Change | None]:
    """What followed each failure in `history`."""
    return [decide(history[: number + 1]).change for number in range(len(history))]


def classify(error: Exception, *, stage: Literal["gang", "export", "store"] = "gang") -> str:
    """The kind of an exception: exhausted memory wherever it shows, else by where it was raised.

    torch has one exception for CUDA and a plain RuntimeError for the CPU's allocator, so that the
    words decide.
    """
    words = f"{type(error).__name__} {error}".lower()
    is_memory = isinstance(error, MemoryError) or any(sign in words for sign in _MEMORY_SIGNS)
    if is_memory:
        return "out_of_memory"
    return {"gang": "internal", "export": "export", "store": "store"}[stage]


def attempt_seed(seed: int, num_reseeds: int) -> int:
    """The seed of an attempt after `num_reseeds` changes of seed; the row's own before the first.

    A hash keeps it away from seed + 1, seed + 2, ..., which `num_seeds` hands to other assets.
    """
    if num_reseeds == 0:
        return seed
    digest = hashlib.sha256(f"{seed}/{num_reseeds}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
