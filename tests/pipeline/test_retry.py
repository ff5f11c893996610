"""The table of error kinds, and what follows from a history of failures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import retry
from pipeline.retry import MAX_CHARGED, MOST_IN_COMPANY, TABLE, attempt_seed, classify, decide

KINDS = st.sampled_from([*TABLE, "a kind of tomorrow"])


@pytest.mark.parametrize("kind", TABLE)
def test_each_kind_is_retried_as_often_as_its_row_says(kind: str) -> None:
    policy = TABLE[kind]
    assert policy.meaning
    if policy.retries is None:
        assert not decide([kind] * 5000).gives_up
        return
    changes = [decide([kind] * n).change for n in range(1, policy.retries + 2)]
    assert changes == [policy.change] * policy.retries + [None]
    assert retry.changes([kind] * (policy.retries + 1)) == changes


def test_what_the_rows_promise() -> None:
    assert {TABLE[kind].change for kind in ("diverged", "empty", "saturated")} == {"new_seed"}
    assert {TABLE[kind].change for kind in ("suspect", "actor_died", "hung")} == {"alone"}
    assert TABLE["out_of_memory"].change == "frugal"
    uncharged = {kind for kind, policy in TABLE.items() if not policy.charged}
    assert uncharged == {"suspect", "node_lost", "preempted", "gang_out_of_memory", "encode"}


@pytest.mark.parametrize("kind", ["node_lost", "preempted"])
def test_nothing_is_given_up_because_machines_go_away(kind: str) -> None:
    assert not decide([kind] * 5000).gives_up
    assert not decide(["diverged", *[kind] * 200, "diverged", *[kind] * 200]).gives_up


def test_who_loses_machine_after_machine_goes_on_alone() -> None:
    changes = retry.changes(["node_lost"] * 7)
    assert changes == ["same"] * (MOST_IN_COMPANY - 1) + ["alone"] * 3
    assert not retry.policy("node_lost").charged
    assert set(retry.changes(["preempted"] * 50)) == {"same"}, "what was announced says nothing"


def test_for_what_an_actor_may_be_at_fault() -> None:
    elsewhere = {kind for kind, policy in TABLE.items() if policy.elsewhere}
    own = {"diverged", "empty", "saturated"}
    outside = {"node_lost", "preempted", "gang_out_of_memory", "encode"}
    assert elsewhere == set(TABLE) - own - outside


def test_an_unknown_kind_counts_as_internal() -> None:
    assert retry.policy("a kind of tomorrow") == TABLE["internal"]


def test_charged_failures_of_several_kinds_add_up() -> None:
    history = ["diverged", "store", "internal", "empty"]
    assert len(history) == MAX_CHARGED
    assert not decide(history[:-1]).gives_up
    assert decide(history).gives_up


def test_a_suspect_is_not_charged() -> None:
    assert not decide(["suspect", "diverged", "suspect", "diverged", "suspect"]).gives_up


@given(st.lists(KINDS, min_size=1, max_size=60))
def test_no_history_goes_on_for_ever(kinds: list[str]) -> None:
    """Those apart that have no limit."""
    kinds = [kind for kind in kinds if retry.policy(kind).retries is not None] or ["internal"]
    longest = sum(policy.retries or 0 for policy in TABLE.values()) + len(TABLE) + 2
    lived = next((n for n in range(1, len(kinds) + 1) if decide(kinds[:n]).gives_up), len(kinds))
    assert lived <= longest


@given(st.integers(0, 2**63 - 1))
def test_seeds_of_attempts(seed: int) -> None:
    assert attempt_seed(seed, 0) == seed
    later = [attempt_seed(seed, n) for n in range(1, 4)]
    assert len({seed, *later}) == 4
    assert all(0 <= s < 2**31 for s in later)
    assert later == [attempt_seed(seed, n) for n in range(1, 4)]


def test_reseeding_stays_away_from_the_neighbouring_seeds_of_a_row() -> None:
    siblings = set(range(1000, 1100))
    assert siblings.isdisjoint(attempt_seed(seed, n) for seed in siblings for n in (1, 2))


class OutOfMemoryError(RuntimeError):
    """Named like torch's."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("no words"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    ],
)
@pytest.mark.parametrize("stage", ["gang", "export", "store"])
def test_exhausted_memory_is_known_in_every_stage(error: Exception, stage: str) -> None:
    assert classify(error, stage=stage) == "out_of_memory"  # pyright: ignore[reportArgumentType]


def test_other_errors_are_named_for_their_stage() -> None:
    error = ValueError("no")
    assert classify(error) == "internal"
    assert classify(error, stage="export") == "export"
    assert classify(error, stage="store") == "store"
