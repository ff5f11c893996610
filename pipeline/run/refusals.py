"""When a store that refuses one asset after another is to be given up, and not the assets.

A full disk and a withdrawn right refuse everything: to go on would cost each prompt its result and
its retries. So a run ends, and may be repeated, when as many assets in a row were refused as there
are actors, and at least `MOST_REFUSED`: a thousand actors have ten refused within seconds of a
short outage. Or when one is to be given up and nothing was taken since its first refusal. An asset
that is refused while others are taken is that asset's affair.

Texts that cannot be had (`encode`) come before all work: a run ends when that is all that has
happened for `STARVING_SECONDS`, with no scene at work and none done.
"""

import time
from collections.abc import Callable

from pipeline.run.schedule import Failed

MOST_REFUSED = 10
"""Assets refused in a row by a small fleet, each after the pauses that its actor makes."""
STARVING_SECONDS = 900.0
"""More than a text encoder takes that has to load again."""


class Refusals:
    """The assets that were refused and are not over."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._starving_since: float | None = None
        self._num_taken = 0
        self._since: dict[str, int] = {}
        """How many assets had been taken when this one was first refused."""
        self._in_a_row: set[str] = set()

    def taken(self, asset_id: str) -> None:
        """The store has an asset."""
        self.moved()
        self._num_taken += 1
        self._since.pop(asset_id, None)
        self._in_a_row.clear()

    def moved(self) -> None:
        """A scene is at work, or done: its texts could be had."""
        self._starving_since = None

    def is_hopeless(self, failed: Failed, *, num_actors: int) -> bool:
        """Takes note of a failure in a fleet of so many: whether the run is to be given up."""
        if failed.kind == "encode":
            return self._is_starved()
        if failed.kind != "store":
            return False
        asset_id = failed.attempt.task.asset_id
        self._in_a_row.add(asset_id)
        since = self._since.setdefault(asset_id, self._num_taken)
        if failed.decision.gives_up:
            del self._since[asset_id]
            return since == self._num_taken
        return len(self._in_a_row) >= max(MOST_REFUSED, num_actors)

    def _is_starved(self) -> bool:
        now = self._clock()
        if self._starving_since is None:
            self._starving_since = now
        return now - self._starving_since > STARVING_SECONDS
