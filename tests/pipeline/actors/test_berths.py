"""How many are taken at a time."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from pipeline.actors.berths import Berths

SECONDS = 20


def test_no_more_are_taken_than_there_are() -> None:
    berths, has_third = Berths(2), threading.Event()

    def third() -> int:
        with berths.one() as number:
            has_third.set()
            return number

    with ThreadPoolExecutor(1) as pool, ExitStack() as first:
        assert first.enter_context(berths.one()) == 2
        with berths.one():
            found = pool.submit(third)
            assert not has_third.wait(0.1)
        assert found.result(SECONDS) == 2


def test_halving_waits_until_enough_are_free() -> None:
    berths, has_next = Berths(4), threading.Event()

    def following() -> int:
        with berths.one() as number:
            has_next.set()
            return number

    with ThreadPoolExecutor(1) as pool, ExitStack() as first, ExitStack() as second:
        for stack in (first, second, second):
            stack.enter_context(berths.one())
        berths.halve(4)
        found = pool.submit(following)
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
    with berths.one() as found:
        assert found == left


def test_one_is_free_again_after_an_error() -> None:
    berths = Berths(1)
    with pytest.raises(ValueError, match="no mesh"), berths.one():
        raise ValueError("no mesh")
    with berths.one() as number:
        assert number == 1
