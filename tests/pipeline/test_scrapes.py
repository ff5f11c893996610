from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry, Counter

from pipeline.scrapes import FIRST_INTERVAL_SECONDS, MAX_PAUSE_SECONDS, Scraped


class Bench:
    """One counter, and a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        registry = CollectorRegistry()
        self.counter = Counter("turns", "Turns.", registry=registry)
        self.scraped = Scraped(registry, clock=lambda: self.now)

    def scrape(self) -> float:
        (family,) = self.scraped.collect()
        return family.samples[0].value

    def patience(self, *pauses: float) -> float:
        """For how long after the last of several scrapes with these pauses between them another one
        is expected."""
        for pause in (0.0, *pauses):
            self.now += pause
            self.scrape()
        last = self.now
        while self.scraped.is_watched():
            self.now += 0.25
            assert self.now - last < 1000
        return self.now - last


def test_nobody_is_expected_where_nobody_has_been() -> None:
    bench = Bench()
    assert not bench.scraped.is_watched()
    assert len(bench.scraped.families()) == 1
    assert bench.scraped.num_scrapes == 0
    assert not bench.scraped.is_watched(), "to look at it is no scrape"


@pytest.mark.parametrize(
    ("pauses", "expected"),
    [
        ((), 2 * FIRST_INTERVAL_SECONDS + 1),
        ((15.0,), 31.0),
        ((15.0, 15.0, 15.0), 31.0),
        ((1.0, 14.0, 1.0), 29.0),  # two watchers, each every 15 seconds
        ((60.0, 5.0, 5.0, 5.0, 5.0), 11.0),  # what is long ago does not count
        ((500.0,), MAX_PAUSE_SECONDS),
    ],
)
def test_two_intervals_are_waited_for(pauses: Sequence[float], expected: float) -> None:
    assert Bench().patience(*pauses) == pytest.approx(expected, abs=0.25)


def test_a_watcher_who_comes_back_is_expected_again() -> None:
    bench = Bench()
    bench.patience(1.0, 1.0)
    assert not bench.scraped.is_watched()
    bench.scrape()
    assert bench.scraped.is_watched()


def test_what_is_frozen_stays() -> None:
    bench = Bench()
    bench.counter.inc()
    assert bench.scrape() == 1.0
    bench.scraped.freeze()
    bench.counter.inc()
    assert bench.scrape() == 1.0
    assert bench.scraped.families()[0].samples[0].value == 1.0
    assert bench.scraped.num_scrapes == 2
