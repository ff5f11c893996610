"""A simulated node: some GPUs that come and go together, each the berth of one actor."""

from dataclasses import dataclass, field
from typing import Literal

from pipeline.simulation.actor import Actor
from pipeline.simulation.draws import Fate


@dataclass(kw_only=True, eq=False)
class Node:
    """`since` when it is paid for. An unseen one is lost to the driver and finishes what it has."""

    since: float
    berths: list["Berth"] = field(default_factory=list)
    is_gone: bool = False


@dataclass(kw_only=True, eq=False)
class Berth:
    """One GPU, and the actor on it if it is ready.

    `down`: its process has ended and nobody has judged that yet. `version` tells apart what was
    planned for the actor of now from what was planned for one before it. `num_held` counts the
    orders that the driver has not had an answer to. `ailment` is the fate of all attempts on a bad
    GPU.
    """

    name: str
    node: Node
    ailment: Fate | None = None
    state: Literal["queued", "loading", "ready", "leaving", "down", "gone"] = "queued"
    queued: float = 0.0
    actor: Actor | None = None
    version: int = 0
    num_held: int = 0
