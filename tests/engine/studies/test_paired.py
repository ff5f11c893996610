import itertools
import math

import pytest

from engine.studies.paired import paired, sign_test


def by_counting(higher: int, lower: int) -> float:
    """Share of all sequences of coins whose split is as uneven, or more so."""
    total = higher + lower
    splits = [abs(total - 2 * sum(coins)) for coins in itertools.product((0, 1), repeat=total)]
    return sum(split >= abs(higher - lower) for split in splits) / len(splits)


@pytest.mark.parametrize("higher", range(7))
@pytest.mark.parametrize("lower", range(7))
def test_p_is_the_share_of_coins_as_uneven(higher: int, lower: int) -> None:
    assert sign_test(higher, lower) == pytest.approx(by_counting(higher, lower), abs=1e-12)


def test_pairs_are_counted() -> None:
    found = paired([1.0, 2.0, 3.0, 4.0, 5.0], [1.5, 2.0, 2.0, 7.0, 9.0])
    assert (found.higher, found.lower, found.equal) == (3, 1, 1)
    assert found.change == 0.5
    assert found.p == pytest.approx(10 / 16)


def test_answers_of_yes_and_no_are_numbers() -> None:
    found = paired([True, True, False, False], [True, False, True, True])
    assert (found.higher, found.lower, found.equal) == (2, 1, 1)
    assert found.p == 1.0


def test_what_is_infinite_is_higher_and_has_no_part_in_the_median() -> None:
    found = paired([0.1, math.inf, math.inf, 0.2], [math.inf, 0.1, math.inf, 0.5])
    assert (found.higher, found.lower, found.equal) == (2, 1, 1)
    assert found.change == pytest.approx(0.3)
    nothing = paired([], [])
    assert (nothing.change, nothing.p) == (0.0, 1.0)


@pytest.mark.parametrize(("first", "second"), [([1.0], []), ([1.0], [math.nan])])
def test_what_is_no_pair_of_numbers_is_refused(first: list[float], second: list[float]) -> None:
    with pytest.raises(ValueError, match="expected as many numbers"):
        paired(first, second)
