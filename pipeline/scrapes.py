"""What a scrape gets, and who scrapes: metrics that can be frozen, and a note of each visit."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

MAX_PAUSE_SECONDS = 90.0
"""A watcher who has not come for so long has left."""

FIRST_INTERVAL_SECONDS = 30.0
"""Between two scrapes, where there was but one."""

_MOMENTS = 5


class Scraped(Collector):
    """A registry as it is, or as it was when it was frozen."""

    def __init__(
        self, registry: CollectorRegistry, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._frozen: Sequence[Metric] | None = None
        self._moments: deque[float] = deque(maxlen=_MOMENTS)
        self.num_scrapes = 0

    def families(self) -> Sequence[Metric]:
        """The metrics, without a note."""
        return self._frozen if self._frozen is not None else list(self._registry.collect())

    def freeze(self) -> None:
        """From now on all stays as it is."""
        self._frozen = self.families()

    def is_watched(self) -> bool:
        """Whether another scrape is to be expected: until two intervals after the last one.

        The longest of the last intervals counts, since several may watch.
        """
        moments = list(self._moments)
        if not moments:
            return False
        intervals = [after - before for before, after in pairwise(moments)]
        pause = 2 * max(intervals, default=FIRST_INTERVAL_SECONDS) + 1
        return self._clock() < moments[-1] + min(pause, MAX_PAUSE_SECONDS)

    def describe(self) -> Sequence[Metric]:
        """The names, for whoever registers this."""
        return self.families()

    def collect(self) -> Sequence[Metric]:
        """One scrape."""
        families = self.families()
        self._moments.append(self._clock())
        self.num_scrapes += 1
        return families
