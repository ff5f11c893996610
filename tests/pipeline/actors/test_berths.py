"""How many are taken at a time."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from pipeline.actors.berths import Berths

SECONDS = 20


def taken(berths: Berths, has_one: threading.Event) -> int:
    """How many there were when one was taken, which is told at once."""
    with berths.one() as berth:
        has_one.set()
        return berth.number


def test_no_more_are_taken_than_there_are() -> None:
    berths, has_third = Berths(2), threading.Event()
    with ThreadPoolExecutor(1) as pool, ExitStack() as first:
        assert first.enter_context(berths.one()).number == 2
        with berths.one():
            found = pool.submit(taken, berths, has_third)
            assert not has_third.wait(0.1)
        assert found.result(SECONDS) == 2


def test_halving_waits_until_enough_are_free() -> None:
    berths, has_next = Berths(4), threading.Event()
    with ThreadPoolExecutor(1) as pool, ExitStack() as first, ExitStack() as second:
        for stack in (first, second, second):
            stack.enter_context(berths.one())
        berths.halve(4)
        found = pool.submit(taken, berths, has_next)
        first.close()
        assert not has_next.wait(0.1), "two are taken"
        second.close()
        assert found.result(SECONDS) == 2


@pytest.mark.parametrize(
    ("seen", "left"), [((6,), 3), ((6, 6, 6), 3), ((6, 3), 1), ((6, 3, 6, 1), 1)]
)
def test_those_that_saw_the_same_number_halve_it_once(seen: tuple[int, ...], left: int) -> None:
    berths = Berths(6)
    for number in seen:
        berths.halve(number)
    with berths.one() as berth:
        assert berth.number == left


def test_one_is_free_again_after_an_error() -> None:
    berths = Berths(1)
    with pytest.raises(ValueError, match="no mesh"), berths.one():
        raise ValueError("no mesh")
    with berths.one() as berth:
        assert (berth.number, berth.is_shared) == (1, False)


def test_who_has_had_company_is_known_to_both() -> None:
    berths = Berths(3)
    with berths.one() as before:
        assert not before.is_shared
    with berths.one() as stays:
        assert not stays.is_shared, "the one before is gone"
        with berths.one() as comes:
            assert comes.is_shared
        assert stays.is_shared, "even when the other is gone again"
    assert not before.is_shared


@pytest.mark.parametrize(("num_taken", "left"), [(0, None), (1, 1), (2, 1), (3, 1), (4, 2), (6, 3)])
def test_someone_else_is_left_half_of_what_is_taken(num_taken: int, left: int | None) -> None:
    berths = Berths(6)
    with ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        for _ in range(num_taken):
            stack.enter_context(berths.one())
        found = pool.submit(berths.leave_room)
        if left is not None and left < num_taken:
            with pytest.raises(TimeoutError):
                found.result(0.05)
        stack.close()
        assert found.result(SECONDS) == (left is not None)
    with berths.one() as berth:
        assert berth.number == (left or 6)


def test_the_last_berth_is_left_to_nobody() -> None:
    berths = Berths(1)
    with berths.one():
        assert not berths.leave_room()


def test_what_was_halved_a_moment_ago_need_only_become_free() -> None:
    berths = Berths(4)
    with ThreadPoolExecutor(1) as pool, ExitStack() as first, ExitStack() as second:
        for stack in (first, second, second):
            stack.enter_context(berths.one())
        berths.halve(4)
        found = pool.submit(berths.leave_room)
        first.close()
        assert found.result(SECONDS), "though two are still taken"
    with berths.one() as berth:
        assert berth.number == 2
