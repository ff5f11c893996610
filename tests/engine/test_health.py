import math

import pytest
import torch
from torch import Tensor

from engine.health import EMPTY_OPACITY, PATIENCE, SATURATED_OPACITY, Health, Verdict, nothing_bad

ITERATIONS = 200
PATIENT = math.ceil(PATIENCE * ITERATIONS)


def healths(num_slots: int) -> Health:
    """Every slot with a scene."""
    health = Health(num_slots, ITERATIONS, torch.device("cpu"))
    for slot in range(num_slots):
        health.admit(slot, nothing_bad(health.verdict.device))
    return health


def observe(
    health: Health, opacity: list[list[float]], step: int = 0, is_hit: Tensor | None = None
) -> list[Verdict]:
    o = torch.tensor(opacity)
    health.observe(
        torch.full((len(opacity),), step),
        torch.ones(len(opacity), dtype=torch.bool),
        o,
        torch.ones_like(o, dtype=torch.bool) if is_hit is None else is_hit,
    )
    return [Verdict(int(v)) for v in health.verdict]


@pytest.mark.parametrize(
    ("opacity", "verdict"),
    [(EMPTY_OPACITY * 0.9, Verdict.EMPTY), ((1 + SATURATED_OPACITY) / 2, Verdict.SATURATED)],
)
def test_a_verdict_takes_as_many_steps_as_patience_has(opacity: float, verdict: Verdict) -> None:
    health = healths(2)
    for _ in range(PATIENT - 1):
        assert observe(health, [[opacity] * 3, [0.4] * 3]) == [Verdict.OK] * 2
    assert observe(health, [[opacity] * 3, [0.4] * 3]) == [verdict, Verdict.OK]
    # It stays, whatever is seen later.
    assert observe(health, [[0.4] * 3, [0.4] * 3]) == [verdict, Verdict.OK]


@pytest.mark.parametrize("opacity", [0.0, 1.0])
def test_one_good_step_starts_the_count_anew(opacity: float) -> None:
    health = healths(1)
    for _ in range(5):
        for _ in range(PATIENT - 1):
            assert observe(health, [[opacity]]) == [Verdict.OK]
        assert observe(health, [[0.5]]) == [Verdict.OK]


def test_an_empty_last_step_is_enough_and_a_full_one_is_not() -> None:
    last = ITERATIONS - 1
    assert observe(healths(2), [[0.0], [1.0]], step=last) == [Verdict.EMPTY, Verdict.OK]
    assert observe(healths(1), [[0.0]], step=last - 1) == [Verdict.OK]


def test_only_rays_that_meet_the_scene_can_be_filled() -> None:
    health = healths(2)
    opacity = [[1.0, 1.0, 0.0, 0.0]] * 2
    is_hit = torch.tensor([[True, True, False, False], [True, True, True, False]])
    found = [observe(health, opacity, is_hit=is_hit) for _ in range(PATIENT)]
    assert found[-1] == [Verdict.SATURATED, Verdict.OK]


def test_what_is_not_finite_diverges_at_once_and_alone() -> None:
    health = healths(3)
    opacity = torch.tensor([[math.nan], [0.5], [0.0]])
    for _ in range(2):
        health.observe(
            torch.zeros(3, dtype=torch.long),
            torch.tensor([False, True, True]),
            opacity,
            torch.ones(3, 1, dtype=torch.bool),
        )
    assert health.verdict.tolist() == [Verdict.DIVERGED, Verdict.OK, Verdict.OK]
    assert health.is_sound.tolist() == [False, True, True]


def test_a_slot_forgets_its_last_scene() -> None:
    health = healths(1)
    for _ in range(PATIENT):
        observe(health, [[0.0]])
    health.dismiss(0)
    assert observe(health, [[0.0]]) == [Verdict.VACANT]
    assert not health.is_sound.any()
    health.admit(0, nothing_bad(health.verdict.device))
    assert observe(health, [[0.0]]) == [Verdict.OK]


def test_vacant_slots_have_no_verdict() -> None:
    health = Health(2, ITERATIONS, torch.device("cpu"))
    health.admit(1, nothing_bad(health.verdict.device))
    found = [observe(health, [[1.0], [1.0]]) for _ in range(PATIENT)]
    assert found[-1] == [Verdict.VACANT, Verdict.SATURATED]
