"""Assumptions that make no sense are refused in one line."""

import pytest

from pipeline.errors import UserError
from pipeline.fleet.pool import MAX_COMING
from pipeline.simulation.assumptions import Assumptions


def test_the_defaults_make_sense() -> None:
    Assumptions().check()
    assert Assumptions().wave == MAX_COMING


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"prompts": 0}, "--prompts: expected 1 or more, got 0"),
        ({"poison": 1.5}, "--poison: expected from 0 to 1, got 1.5"),
        ({"seconds_per_asset": -1.0}, "--seconds-per-asset: expected 0 or more, got -1.0"),
        ({"spread": float("nan")}, "--spread: expected 0 or more, got nan"),
        ({"load_seconds": float("inf")}, "--load-seconds: expected 0 or more, got inf"),
        ({"single_share": 0.0}, "--single-share: expected more than 0"),
        ({"hang_minutes": 0.0}, "--hang-minutes: expected more than 0"),
        ({"diverged": 0.6, "empty": 0.6}, "expected no more than 1 together, got 1.2"),
    ],
)
def test_what_makes_no_sense(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Assumptions(**wrong).check()  # pyright: ignore[reportArgumentType]


def test_the_last_node_may_be_used_in_part() -> None:
    assert Assumptions(gpus=17, nodes_of=8).num_nodes == 3
