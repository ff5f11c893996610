"""What a user sees, on a terminal and in a file."""

import io

import pytest
from rich.console import Console

from pipeline.run.progress import (
    LINE_SECONDS,
    MAX_SCENE_BARS,
    BarDisplay,
    LineDisplay,
    Snapshot,
    describe,
    duration,
    open_display,
    shorten,
)

MIDDLE = Snapshot(
    total=10,
    done=3,
    quarantined=1,
    num_failures=2,
    num_actors=1,
    gained=4.0,
    elapsed=2880.0,
    steps_per_second=4.25,
    fractions={"1": 0.75, "2": 0.25},
    prompts={"1": "a red ball", "2": "a blue ball"},
)


def test_rate_and_time_left_count_what_is_under_way() -> None:
    assert MIDDLE.finished == 5.0
    assert MIDDLE.assets_per_hour == pytest.approx(5.0)
    assert MIDDLE.seconds_left == pytest.approx(3600.0)


@pytest.mark.parametrize(
    "early",
    [
        Snapshot(total=10),
        Snapshot(total=10, fractions={"1": 0.01}, elapsed=60.0, gained=0.01),
        Snapshot(total=10, fractions={"1": 0.9}, elapsed=0.0, gained=0.9),
        Snapshot(total=10, elapsed=60.0, gained=-0.5),
    ],
    ids=["nothing", "a step", "no time", "lost"],
)
def test_nothing_is_promised_before_there_is_a_rate(early: Snapshot) -> None:
    assert early.seconds_left is None
    assert early.assets_per_hour is None
    assert "hour" not in describe(early)
    assert "left" not in describe(early)


def test_before_there_is_an_actor() -> None:
    assert describe(Snapshot(total=10)) == "0/10 assets, waiting for an actor to be ready"


def test_a_line_says_everything() -> None:
    assert describe(MIDDLE) == (
        "3/10 assets, 2 running (50 %), 5.0 an hour, 1 h 00 min left, 4.2 steps/s, "
        "2 failed attempts, 1 quarantined"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (18420, "5 h 07 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_long_prompts_are_cut_and_lines_joined() -> None:
    assert shorten("a\n red  ball") == "a red ball"
    assert len(shorten("ball " * 40)) == 40


def test_a_file_gets_plain_lines_now_and_then() -> None:
    stream, now = io.StringIO(), [0.0]
    display = LineDisplay(stream, clock=lambda: now[0])
    for now[0] in (0.0, LINE_SECONDS - 1, LINE_SECONDS, LINE_SECONDS + 1, 2 * LINE_SECONDS):
        display.update(MIDDLE)
    display.say("[4/10] committed")
    display.close()
    assert stream.getvalue().splitlines() == [describe(MIDDLE)] * 2 + ["[4/10] committed"]
    assert "\x1b" not in stream.getvalue()


def test_a_file_is_no_terminal() -> None:
    assert isinstance(open_display(io.StringIO()), LineDisplay)


def test_a_terminal_gets_bars() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=160, height=40)
    display = BarDisplay(console)
    prompts = {f"id-{k}": f"ball {k}" for k in range(MAX_SCENE_BARS)}
    fractions = {f"id-{k}": 0.5 for k in range(20)}
    display.update(Snapshot(total=10, fractions=fractions, prompts=prompts))
    display.update(MIDDLE)
    display.say("an [event] of note")
    display.close()
    seen = stream.getvalue()
    assert "a red ball" in seen
    assert "3/10 assets" in seen
    assert "an [event] of note" in seen
    assert f"ball {MAX_SCENE_BARS - 1}" in seen
    assert f"ball {MAX_SCENE_BARS}" not in seen
    assert "id-" not in seen
