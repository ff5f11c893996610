"""The real driver on simulated clusters: sound whatever happens, and as wasteful as one calculates.

Every expectation is worked out here from the assumptions alone.
"""

import json
import math
from dataclasses import replace

import pytest

from pipeline import cli
from pipeline.simulate import simulate
from pipeline.simulation.assumptions import Assumptions
from pipeline.simulation.report import Report

CALM = Assumptions(
    prompts=300,
    gpus=8,
    slots=4,
    nodes_of=2,
    seconds_per_asset=60.0,
    nodes_per_minute=600.0,
    load_seconds=10.0,
    preempted_per_hour=0.0,
    diverged=0.0,
    empty=0.0,
    crashes=0.0,
    hangs=0.0,
    out_of_memory=0.0,
    poison=0.0,
    store_errors=0.0,
    lost_answers=0.0,
    unreachable=0.0,
)
"""Nothing goes wrong."""

WILD = replace(
    CALM,
    prompts=2000,
    seconds_per_asset=30.0,
    preempted_per_hour=2.0,
    replacement_minutes=2.0,
    checkpoint_minutes=1.0,
    unreachable=0.3,
    diverged=0.05,
    empty=0.02,
    crashes=0.005,
    hangs=0.001,
    out_of_memory=0.002,
    poison=0.002,
    store_errors=0.02,
    lost_answers=0.02,
)
"""Everything goes wrong, often."""


def balance(report: Report) -> float:
    """Device hours that are in no account."""
    accounts = (
        report.gpu_hours_useful,
        *report.gpu_hours_wasted.values(),
        report.gpu_hours_loading,
        report.gpu_hours_idle,
        report.gpu_hours_unseen,
        report.gpu_hours_kept,
    )
    return report.gpu_hours_held - sum(accounts)


def test_where_nothing_goes_wrong_nothing_is_wasted() -> None:
    report = simulate(CALM)
    assert (report.num_committed, report.num_attempts) == (300, 300)
    assert report.is_sound
    assert report.gpu_hours_wasted == {}
    assert report.wasted_share == 0.0
    mean = CALM.spread / math.sqrt(300)
    assert report.gpu_hours_useful == pytest.approx(300 * 60 / 3600, rel=max(0.1, 4 * mean))
    assert balance(report) == pytest.approx(0.0, abs=1e-6)


def test_an_asset_alone_takes_as_long_as_its_parts() -> None:
    report = simulate(replace(CALM, prompts=1, gpus=1, nodes_of=1, spread=0.0))
    optimising = 4 * 60.0 * CALM.single_share
    shortest = 0.8 * (CALM.load_seconds + CALM.publish_seconds) + optimising
    longest = 1.2 * (CALM.load_seconds + CALM.publish_seconds) + optimising + 1.0
    assert shortest < report.makespan_seconds < longest
    assert report.gpu_hours_useful * 3600 == pytest.approx(optimising)


def test_in_a_wild_world_nothing_is_lost_and_nothing_is_there_twice() -> None:
    report = simulate(WILD)
    assert report.is_sound
    assert report.num_committed + report.num_quarantined == report.num_prompts == 2000
    assert {
        "actor_died",
        "diverged",
        "empty",
        "gang_out_of_memory",
        "node_lost",
        "preempted",
        "suspect",
    } <= report.retried.keys() | report.quarantined.keys()
    assert report.events["hung actors"]
    assert report.events["nodes that went after notice"]
    assert report.events["nodes that went unannounced"]
    assert report.num_resumed
    assert report.gpu_hours_unseen
    assert report.num_duplicates
    counts = report.store_calls
    assert counts["refused"]
    assert counts["answer lost"]
    assert counts["create, name taken"]


def test_the_same_seed_is_the_same_world() -> None:
    machine = {"driver_cpu", "driver_share", "planning", "simulation", "settled", "_rss_"}

    def drawn(assumptions: Assumptions) -> dict[str, object]:
        figures = simulate(assumptions).to_dict()
        return {k: v for k, v in figures.items() if not any(word in k for word in machine)}

    small = replace(WILD, prompts=500)
    assert drawn(small) == drawn(small)
    assert drawn(small) != drawn(replace(small, seed=1))


def test_poison_is_quarantined_and_its_neighbours_live() -> None:
    report = simulate(replace(CALM, prompts=1000, poison=0.005, seconds_per_asset=10.0))
    num_poison = report.num_quarantined
    assert report.quarantined == {"actor_died": num_poison}
    assert 1 <= num_poison <= 20
    assert report.num_committed == 1000 - num_poison
    # Each kills in company once at most, then twice alone.
    deaths = report.events["process deaths"]
    assert 2 * num_poison <= deaths <= 3 * num_poison
    assert report.retried["suspect"] <= num_poison * (CALM.slots + 1)
    assert balance(report) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("num_gpus", [8, 100])
def test_bad_gpus_take_no_prompt_with_them(num_gpus: int) -> None:
    given = replace(CALM, prompts=2000, gpus=num_gpus, bad_gpus=0.2, seed=3)
    report = simulate(given)
    num_bad = report.events["bad GPUs"]
    assert 1 <= num_bad <= num_gpus / 2
    assert report.events["actors replaced"] >= num_bad
    assert (report.num_committed, report.num_quarantined) == (2000, 0)
    assert report.wasted_share < 0.1
    assert f"{num_bad} bad GPUs" in report.render()
    assert balance(report) == pytest.approx(0.0, abs=1e-6)


def test_where_all_gpus_are_bad_the_run_ends() -> None:
    report = simulate(replace(CALM, prompts=100, bad_gpus=1.0))
    assert (report.num_committed, report.num_quarantined) == (0, 100)
    assert "actors replaced" not in report.events


def test_what_is_too_large_even_alone_is_given_up_after_a_frugal_attempt() -> None:
    """As the worker has it: a gang of several slots that is exhausted is made smaller, whoever was
    in it; only a gang of one slot is charged."""
    report = simulate(replace(CALM, prompts=40, gpus=1, nodes_of=1, out_of_memory=0.2))
    assert report.num_committed == 40
    assert report.retried["gang_out_of_memory"]
    halved = simulate(replace(CALM, prompts=1, gpus=1, nodes_of=1, out_of_memory=1.0))
    # Alone in gangs of four, two and one slots, then frugally.
    assert halved.retried == {"gang_out_of_memory": 2, "out_of_memory": 1}
    assert halved.num_committed == 1


def test_a_hung_actor_costs_its_wait_and_nobody_is_given_up() -> None:
    given = replace(CALM, hangs=0.01, hang_minutes=5.0)
    report = simulate(given)
    num_hung = report.events["hung actors"]
    assert num_hung
    assert report.num_committed == 300
    wasted = sum(report.gpu_hours_wasted.values()) * 3600
    assert wasted >= num_hung * 300.0
    assert balance(report) == pytest.approx(0.0, abs=1e-6)


def test_a_node_that_lives_on_unseen_makes_assets_of_which_one_counts() -> None:
    given = replace(
        CALM, prompts=600, preempted_per_hour=4.0, noticed=0.0, unreachable=1.0, spread=0.0
    )
    report = simulate(given)
    assert report.is_sound
    assert report.gpu_hours_unseen
    assert report.num_duplicates, "what the unseen actors finished first"
    assert report.num_committed == report.num_commits == 600


def lost_age(life: float, interval: float, publishing: float) -> float:
    """Seconds of a full gang that a sudden end costs: of a scene of `life` seconds at a random
    moment, those since its newest checkpoint; of one being published, those since its last."""
    whole, rest = divmod(life, interval) if math.isfinite(interval) else (0, life)
    since = (whole * interval**2 / 2 if whole else 0.0) + rest**2 / 2
    return since / life + publishing / life * rest


@pytest.mark.parametrize("minutes", [0.5, 0.0])
def test_sudden_ends_waste_what_one_calculates(minutes: float) -> None:
    """Waste per busy device second = rate of preemption x what one of them costs."""
    given = replace(
        CALM,
        prompts=3000,
        gpus=16,
        nodes_of=1,
        spread=0.0,
        seconds_per_asset=28.0,
        preempted_per_hour=8.0,
        noticed=0.0,
        replacement_minutes=1.0,
        checkpoint_minutes=minutes,
    )
    report = simulate(given)
    life = given.seconds_per_asset * given.slots
    interval = 60.0 * minutes or math.inf
    rate = given.preempted_per_hour / 3600
    expected = rate * lost_age(life, interval, given.publish_seconds)
    wasted = sum(report.gpu_hours_wasted.values())
    num_events = report.events["nodes that went unannounced"]
    assert num_events > 100
    # An actor that goes within a blink after its commit has its asset made again.
    unheard = {"duplicate"} if report.num_unacknowledged else set()
    assert report.gpu_hours_wasted.keys() == {"node_lost"} | unheard
    found = wasted / (report.gpu_hours_useful + wasted)
    assert found == pytest.approx(expected / (1 + expected), rel=4 / math.sqrt(num_events))
    assert balance(report) == pytest.approx(0.0, abs=1e-6)
    assert bool(report.num_resumed) == bool(minutes)


def test_announced_ends_waste_next_to_nothing() -> None:
    given = replace(CALM, prompts=1000, preempted_per_hour=2.0, noticed=1.0, replacement_minutes=1)
    report = simulate(given)
    assert report.events["nodes that went after notice"] > 10
    assert report.num_resumed
    assert report.wasted_share < 1e-3
    assert balance(report) == pytest.approx(0.0, abs=1e-6)


def test_a_hundred_thousand_prompts_on_a_thousand_gpus() -> None:
    """A quarter of an hour of a thousand GPUs, and all that may go wrong."""
    given = Assumptions(
        prompts=100_000,
        seconds_per_asset=7.0,
        preempted_per_hour=0.5,
        nodes_per_minute=600.0,
        wave=1000,
        load_seconds=30.0,
        checkpoint_minutes=1.0,
        crashes=1e-4,
        poison=1e-4,
        hangs=1e-4,
        hang_minutes=2.0,
    )
    report = simulate(given)
    assert report.is_sound
    assert report.num_committed + report.num_quarantined == 100_000
    assert report.num_quarantined < 50
    assert report.events["nodes that went after notice"] > 5
    assert report.settled_per_cpu_second > 2500
    assert report.driver_share < 0.1
    # The peak is that of all that this process has done before.
    assert report.peak_rss_mib - report.planned_rss_mib < 300


def test_the_command_prints_a_page_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["simulate", "--prompts", "50", "--gpus", "2", "--nodes-of", "1", "--slots", "2"]
    assert cli.main(words) == 0
    page = capsys.readouterr().out
    assert "50 prompts on 2 GPUs of 2 slots" in page
    assert "nothing lost, nothing twice" in page
    assert "--slots 2" in page
    assert "not simulated:\n  the encode stage" in page
    assert cli.main([*words, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["num_committed"] + figures["num_quarantined"] == 50
    assert figures["assumptions"]["gpus"] == 2
    assert figures["is_sound"] is True


def test_a_senseless_assumption_is_said_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["simulate", "--gpus", "0"]) == 2
    assert capsys.readouterr().err == "dreambatch: error: --gpus: expected 1 or more, got 0\n"
