"""Whose fault a refused asset is: its own, or the store's."""

import pytest

from pipeline import retry
from pipeline.refusals import MOST_REFUSED, Refusals
from pipeline.schedule import Attempt, Failed
from tests.pipeline.sample_assets import sample_task

KEEPS_ON = retry.Decision(change="same")
GIVES_UP = retry.Decision(change=None)


def failed(number: int, decision: retry.Decision = KEEPS_ON, kind: str = "store") -> Failed:
    attempt = Attempt(task=sample_task(number), attempt_id="a", number=1, seed=1)
    return Failed(attempt=attempt, kind=kind, message="no space left", decision=decision)


def test_many_assets_in_a_row_end_the_run() -> None:
    refusals = Refusals()
    said = [refusals.is_hopeless(failed(k)) for k in range(MOST_REFUSED)]
    assert said == [False] * (MOST_REFUSED - 1) + [True]


def test_the_same_asset_again_is_no_other_one() -> None:
    refusals = Refusals()
    assert not any(refusals.is_hopeless(failed(k % 2)) for k in range(3 * MOST_REFUSED))


def test_one_that_is_taken_breaks_the_row() -> None:
    refusals = Refusals()
    for k in range(3 * MOST_REFUSED):
        assert not refusals.is_hopeless(failed(k))
        if k % (MOST_REFUSED - 1) == 0:
            refusals.taken(f"{k:032x}")


@pytest.mark.parametrize("is_taken_between", [False, True])
def test_one_that_would_be_given_up(is_taken_between: bool) -> None:
    refusals = Refusals()
    refusals.taken("before")
    assert not refusals.is_hopeless(failed(0))
    if is_taken_between:
        refusals.taken("another")
    assert not refusals.is_hopeless(failed(0))
    assert refusals.is_hopeless(failed(0, GIVES_UP)) is not is_taken_between


def test_other_failures_are_no_refusals() -> None:
    refusals = Refusals()
    assert not any(refusals.is_hopeless(failed(k, kind="export")) for k in range(50))
    assert not refusals.is_hopeless(failed(0, GIVES_UP, kind="export"))
