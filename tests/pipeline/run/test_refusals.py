"""Whose fault a refused asset is: its own, or the store's."""

import pytest

from pipeline import retry
from pipeline.records import Attempt
from pipeline.run.refusals import MOST_REFUSED, STARVING_SECONDS, Refusals
from pipeline.run.schedule import Failed
from tests.pipeline.sample_assets import sample_task

KEEPS_ON = retry.Decision(change="same")
GIVES_UP = retry.Decision(change=None)


def failed(number: int, decision: retry.Decision = KEEPS_ON, kind: str = "store") -> Failed:
    attempt = Attempt(task=sample_task(number), attempt_id="a", number=1, seed=1)
    return Failed(attempt=attempt, kind=kind, message="no space left", decision=decision)


def test_many_assets_in_a_row_end_the_run() -> None:
    refusals = Refusals()
    said = [refusals.is_hopeless(failed(k), num_actors=1) for k in range(MOST_REFUSED)]
    assert said == [False] * (MOST_REFUSED - 1) + [True]


def test_a_large_fleet_is_not_ended_by_a_short_outage() -> None:
    refusals = Refusals()
    said = [refusals.is_hopeless(failed(k), num_actors=1000) for k in range(1000)]
    assert said == [False] * 999 + [True]


def test_the_same_asset_again_is_no_other_one() -> None:
    refusals = Refusals()
    assert not any(
        refusals.is_hopeless(failed(k % 2), num_actors=1) for k in range(3 * MOST_REFUSED)
    )


def test_one_that_is_taken_breaks_the_row() -> None:
    refusals = Refusals()
    for k in range(3 * MOST_REFUSED):
        assert not refusals.is_hopeless(failed(k), num_actors=1)
        if k % (MOST_REFUSED - 1) == 0:
            refusals.taken(f"{k:032x}")


@pytest.mark.parametrize("is_taken_between", [False, True])
def test_one_that_would_be_given_up(is_taken_between: bool) -> None:
    refusals = Refusals()
    refusals.taken("before")
    assert not refusals.is_hopeless(failed(0), num_actors=1)
    if is_taken_between:
        refusals.taken("another")
    assert not refusals.is_hopeless(failed(0), num_actors=1)
    assert refusals.is_hopeless(failed(0, GIVES_UP), num_actors=1) is not is_taken_between


def test_other_failures_are_no_refusals() -> None:
    refusals = Refusals()
    assert not any(refusals.is_hopeless(failed(k, kind="export"), num_actors=1) for k in range(50))
    assert not refusals.is_hopeless(failed(0, GIVES_UP, kind="export"), num_actors=1)


def starves(*moved: float) -> float | None:
    """When a run ends that fails to get texts every 10 s, and in which scenes move at these
    moments; None if it never does."""
    now = 0.0
    refusals = Refusals(lambda: now)
    for step in range(300):
        now = 10.0 * step
        if now in moved:
            refusals.moved()
        if refusals.is_hopeless(failed(step % 7, kind="encode"), num_actors=1):
            return now
    return None


def test_texts_that_never_come_end_the_run_in_the_end() -> None:
    assert starves() == STARVING_SECONDS + 10
    assert starves(500.0) == 500 + STARVING_SECONDS + 10
    assert starves(*(10.0 * k for k in range(0, 300, 90))) is None
