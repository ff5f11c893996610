import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from pipeline.actors.assignments import Assignment, Assignments
from pipeline.records import Attempt
from tests.pipeline.sample_assets import sample_task


def assignment(number: int = 0) -> Assignment:
    task = sample_task(number)
    return Assignment(
        attempt=Attempt(task=task, attempt_id=f"{number:032x}", number=1, seed=number)
    )


def test_of_many_answers_one_counts() -> None:
    assignments, ours, other = Assignments(), assignment(0), assignment(1)
    assignments.put(ours)
    assignments.put(other)
    answers = [ours.failure(f"kind {k}", "") for k in range(8)]
    barrier = threading.Barrier(8)

    def answer(k: int) -> None:
        barrier.wait()
        assignments.answer(ours, answers[k])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(answer, range(8)))
    assert ours.future.result(timeout=0) in answers
    assert list(assignments.open()) == [other]
    assert len(assignments) == 1


def test_two_attempts_at_one_asset_are_two_assignments() -> None:
    assignments, first = Assignments(), assignment()
    second = Assignment(attempt=replace(first.attempt, attempt_id="b" * 32))
    assignments.put(first)
    assignments.put(second)
    assignments.answer(first, first.failure("internal", ""))
    assert list(assignments.open()) == [second]


@pytest.mark.parametrize(
    ("kind", "lost"), [("preempted", 4.0), ("suspect", 4.0), ("diverged", 10.0)]
)
def test_a_failure_loses_what_no_checkpoint_keeps(kind: str, lost: float) -> None:
    ours = assignment()
    ours.seconds, ours.kept_seconds, ours.num_resumed_steps = 10.0, 6.0, 3
    outcome = ours.failure(kind, "x" * 2000)
    assert outcome.gpu_seconds == lost
    assert (outcome.status, outcome.error_kind, outcome.num_resumed_steps) == ("failed", kind, 3)
    assert outcome.message == "x" * 1000
