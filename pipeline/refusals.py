"""When a store that refuses one asset after another is to be given up, and not the assets.

A full disk and a withdrawn right refuse everything: to go on would cost each prompt its result and
its retries. So a run ends, and may be repeated, when `MOST_REFUSED` assets in a row were refused,
or when one is to be given up and nothing was taken since its first refusal. An asset that is
refused while others are taken is that asset's affair.
"""

from pipeline.schedule import Failed

MOST_REFUSED = 10
"""Assets refused in a row, each after the pauses that its actor makes."""


class Refusals:
    """The assets that were refused and are not over."""

    def __init__(self) -> None:
        self._num_taken = 0
        self._since: dict[str, int] = {}
        """How many assets had been taken when this one was first refused."""
        self._in_a_row: set[str] = set()

    def taken(self, asset_id: str) -> None:
        """The store has an asset."""
        self._num_taken += 1
        self._since.pop(asset_id, None)
        self._in_a_row.clear()

    def is_hopeless(self, failed: Failed) -> bool:
        """Takes note of a failure: whether the store is to be given up for it."""
        if failed.kind != "store":
            return False
        asset_id = failed.attempt.task.asset_id
        self._in_a_row.add(asset_id)
        since = self._since.setdefault(asset_id, self._num_taken)
        if failed.decision.gives_up:
            del self._since[asset_id]
            return since == self._num_taken
        return len(self._in_a_row) >= MOST_REFUSED
