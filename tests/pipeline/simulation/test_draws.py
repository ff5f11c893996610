"""Draws have the distributions that the assumptions state, and follow from the seed."""

import math
from collections import Counter
from dataclasses import replace

import pytest

from pipeline.simulation.assumptions import Assumptions
from pipeline.simulation.draws import AILMENTS, Draws

NUMBER = 20_000
GIVEN = Assumptions(
    prompts=NUMBER, diverged=0.1, empty=0.05, crashes=0.02, hangs=0.01, out_of_memory=0.02, poison=0
)


def test_work_is_lognormal_with_the_mean_that_is_assumed() -> None:
    draws = Draws(GIVEN)
    work = [draws.work(row) for row in range(NUMBER)]
    mean = GIVEN.seconds_per_asset * GIVEN.slots
    assert sum(work) / NUMBER == pytest.approx(mean, rel=4 * GIVEN.spread / math.sqrt(NUMBER))
    logs = [math.log(seconds) for seconds in work]
    centre = sum(logs) / NUMBER
    spread = math.sqrt(sum((x - centre) ** 2 for x in logs) / NUMBER)
    assert spread == pytest.approx(GIVEN.spread, rel=0.03)


def test_fates_have_their_shares() -> None:
    draws = Draws(GIVEN)
    counts = Counter(draws.end(row, is_frugal=False).fate for row in range(NUMBER))
    shares = {"diverged": 0.1, "empty": 0.05, "crash": 0.02, "hang": 0.01, "out_of_memory": 0.02}
    for fate, share in shares.items():
        sigma = math.sqrt(share * (1 - share) * NUMBER)
        assert abs(counts[fate] - share * NUMBER) < 5 * sigma, fate
    assert counts.total() == NUMBER


def test_a_frugal_attempt_does_not_exhaust_the_memory() -> None:
    draws = Draws(replace(GIVEN, out_of_memory=1.0, diverged=0, empty=0, crashes=0, hangs=0))
    assert draws.end(0, is_frugal=False).fate == "out_of_memory"
    assert draws.end(0, is_frugal=True).fate == "made"


def test_poison_is_of_the_prompt_and_not_of_the_attempt() -> None:
    draws = Draws(replace(GIVEN, poison=0.01, diverged=0, empty=0, crashes=0, hangs=0))
    poisonous = [row for row in range(NUMBER) if draws.end(row, is_frugal=True).fate == "crash"]
    assert len(poisonous) == draws.num_poison > 100
    assert all(draws.end(row, is_frugal=True).fate == "crash" for row in poisonous)


def test_bad_gpus_have_their_share_and_each_its_ailment() -> None:
    draws = Draws(replace(GIVEN, bad_gpus=0.3))
    counts = Counter(draws.ailment() for _ in range(NUMBER))
    assert counts.keys() == {None, *AILMENTS}
    for ailment in AILMENTS:
        assert counts[ailment] == pytest.approx(0.1 * NUMBER, rel=0.15)
    assert {Draws(GIVEN).ailment() for _ in range(100)} == {None}


def test_nodes_live_as_long_as_the_rate_says() -> None:
    draws = Draws(replace(GIVEN, preempted_per_hour=0.5))
    lives = [draws.life_seconds() or 0.0 for _ in range(NUMBER)]
    assert sum(lives) / NUMBER == pytest.approx(7200.0, rel=5 / math.sqrt(NUMBER))
    assert Draws(replace(GIVEN, preempted_per_hour=0.0)).life_seconds() is None


def test_another_rate_of_preemption_leaves_the_fates_alone() -> None:
    one, other = Draws(GIVEN), Draws(replace(GIVEN, preempted_per_hour=0.5))
    one.life_seconds()
    assert [one.end(row, is_frugal=False) for row in range(100)] == [
        other.end(row, is_frugal=False) for row in range(100)
    ]
