import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from pipeline.jobs import Job, Jobs
from pipeline.schedule import Attempt
from tests.pipeline.sample_assets import sample_task


def job(number: int = 0) -> Job:
    task = sample_task(number)
    return Job(attempt=Attempt(task=task, attempt_id=f"{number:032x}", number=1, seed=number))


def test_of_many_answers_one_counts() -> None:
    jobs, ours, other = Jobs(), job(0), job(1)
    jobs.put(ours)
    jobs.put(other)
    answers = [ours.failure(f"kind {k}", "", node="", device="") for k in range(8)]
    barrier = threading.Barrier(8)

    def answer(k: int) -> None:
        barrier.wait()
        jobs.answer(ours, answers[k])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(answer, range(8)))
    assert ours.future.result(timeout=0) in answers
    assert list(jobs.open()) == [other]
    assert len(jobs) == 1


def test_two_attempts_at_one_asset_are_two_jobs() -> None:
    jobs, first = Jobs(), job()
    second = Job(attempt=replace(first.attempt, attempt_id="b" * 32))
    jobs.put(first)
    jobs.put(second)
    jobs.answer(first, first.failure("internal", "", node="", device=""))
    assert list(jobs.open()) == [second]


@pytest.mark.parametrize(
    ("kind", "lost", "saved"),
    [("preempted", 4.0, 6.0), ("suspect", 4.0, 0.0), ("diverged", 10.0, 0.0)],
)
def test_a_failure_loses_what_no_checkpoint_keeps(kind: str, lost: float, saved: float) -> None:
    ours = job()
    ours.seconds, ours.kept_seconds, ours.num_resumed_steps = 10.0, 6.0, 3
    outcome = ours.failure(kind, "x" * 2000, node="n", device="d")
    assert (outcome.gpu_seconds, outcome.saved_gpu_seconds) == (lost, saved)
    assert (outcome.status, outcome.error_kind, outcome.num_resumed_steps) == ("failed", kind, 3)
    assert (outcome.node, outcome.device) == ("n", "d")
    assert outcome.message == "x" * 1000
    assert outcome.wall_seconds >= 0
