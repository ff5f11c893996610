"""What the simulated world knows of itself: device time, and the events that befell it."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Account:
    """Device seconds of the whole cluster, and counts of what happened.

    held = loading + busy + unseen + idle. `busy` counts devices with a scene or more; `unseen` the
    work of nodes that the driver has lost and that live on.
    """

    held_seconds: float = 0.0
    loading_seconds: float = 0.0
    busy_seconds: float = 0.0
    unseen_seconds: float = 0.0
    num_attempts: int = 0
    """Scenes that came into a gang."""
    num_commits: int = 0
    """Assets that came into the store."""
    num_resumed: int = 0
    """Attempts that went on from a checkpoint."""
    num_checkpoints: int = 0
    """Checkpoints that were written."""
    num_unacknowledged: int = 0
    """Assets whose commit the driver did not hear of."""
    all_ready: float | None = None
    """When the last GPU of the cluster was ready for the first time."""
    events: Counter[str] = field(default_factory=Counter)
    """Nodes and actors that came and went."""

    @property
    def idle_seconds(self) -> float:
        """Device time of actors that were ready and had nothing to do, or had been released."""
        seen = self.loading_seconds + self.busy_seconds + self.unseen_seconds
        return self.held_seconds - seen
