"""The simulated clock."""

import pytest

from pipeline.simulation.timeline import Timeline


def test_actions_happen_at_their_moments_and_in_the_order_of_their_planning() -> None:
    timeline, seen = Timeline(), []
    for seconds, name in [(2.0, "late"), (1.0, "first"), (1.0, "second")]:
        timeline.after(seconds, lambda name=name: seen.append((timeline.now(), name)))
    while timeline.next_moment is not None:
        timeline.step()
    assert seen == [(1.0, "first"), (1.0, "second"), (2.0, "late")]


def test_the_clock_does_not_pass_an_action() -> None:
    timeline = Timeline()
    timeline.after(1.0, lambda: None)
    timeline.wait_until(1.0)
    with pytest.raises(AssertionError, match="something happens before"):
        timeline.wait_until(1.5)
