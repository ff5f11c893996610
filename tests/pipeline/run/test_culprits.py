"""Whose fault a failure is: a bad actor's, or the prompts'.

`play` has the real schedule and the real verdicts serve a fleet in which an actor that fails is a
hundred times as fast as one that works, so that it is always the emptiest one.
"""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, count

import pytest

from pipeline import retry
from pipeline.records import Attempt, Outcome
from pipeline.run.culprits import MOST_FAILURES, Culprits, Failures
from pipeline.run.schedule import Failed, Schedule
from tests.pipeline.sample_assets import sample_task

SLOTS = 4
LIFE, FAST, LOADING = 480.0, 5.0, 90.0
"""Seconds of an asset, of a failure, and until an actor that was replaced is there again."""


def failed(number: int, kind: str = "internal", *, gives_up: bool = False) -> Failed:
    attempt = Attempt(task=sample_task(number), attempt_id=f"{number}", number=1, seed=1)
    decision = retry.Decision(change=None if gives_up else "alone")
    return Failed(attempt=attempt, kind=kind, message="", decision=decision)


def test_three_failures_in_a_row_while_another_works() -> None:
    culprits = Culprits(num_slots=SLOTS)
    said = []
    for number in range(MOST_FAILURES):
        said.append(culprits.failed("bad", failed(number)))
        assert not culprits.made("good")
    assert said[:-1] == [{}] * (MOST_FAILURES - 1)
    failures = {failed(k).attempt.task.asset_id: [f"{k}"] for k in range(MOST_FAILURES)}
    assert said[-1] == {"bad": failures}
    assert not culprits.failed("bad", failed(9)), "the one in its place begins anew"


def test_where_nobody_else_makes_anything_no_actor_stands_out() -> None:
    culprits = Culprits(num_slots=SLOTS)
    culprits.made("another")
    assert not any(culprits.failed(actor, failed(k)) for k in range(50) for actor in ("a", "b"))
    assert culprits.made("c").keys() == {"a", "b"}, "until somebody does"
    assert not culprits.made("c")


def test_a_success_between_ends_the_row() -> None:
    culprits = Culprits(num_slots=SLOTS)
    for number in range(10 * MOST_FAILURES):
        assert not culprits.failed("a", failed(number))
        assert not culprits.made("b")
        if number % (MOST_FAILURES - 1) == 0:
            culprits.made("a")


def test_the_same_prompt_again_is_no_other_failure() -> None:
    culprits = Culprits(num_slots=SLOTS)
    for _ in range(10):
        assert not culprits.failed("a", failed(0))
        culprits.made("b")


def test_the_suspects_of_a_gang_are_one_failure_and_not_charged() -> None:
    culprits = Culprits(num_slots=SLOTS)
    verdicts = []
    for number in range(MOST_FAILURES * SLOTS):
        verdicts.append(culprits.failed("a", failed(number, "suspect")))
        culprits.made("b")
    assert not any(verdicts[:-1])
    assert list(verdicts[-1]["a"].values()) == [[]] * MOST_FAILURES * SLOTS


@pytest.mark.parametrize("kind", ["diverged", "node_lost", "preempted", "gang_out_of_memory"])
def test_what_no_actor_can_help(kind: str) -> None:
    culprits = Culprits(num_slots=SLOTS)
    for number in range(50):
        assert not culprits.failed("a", failed(number, kind))
        culprits.made("b")


def test_who_gives_a_prompt_up_is_not_at_fault_for_it() -> None:
    culprits = Culprits(num_slots=SLOTS)
    for number in range(10 * MOST_FAILURES):
        assert not culprits.failed("a", failed(number, gives_up=True))
        assert not culprits.made("b")


Fate = Callable[[str, Attempt], str | None]
"""The kind of error with which an attempt ends on a device, or None."""


@dataclass
class Story:
    """A fleet; the actor in place of another has a name of its own, and the old one's device."""

    fate: Fate
    num_actors: int
    num_tasks: int
    num_replaced: int = 0
    given_up: list[Failed] = field(default_factory=list)
    pardoned: set[str] = field(default_factory=set)
    now: float = 0.0

    def __post_init__(self) -> None:
        task, number = sample_task(), self.num_tasks
        tasks = (replace(task, asset_id=f"{k:032x}") for k in range(number))
        self.schedule = Schedule(tasks, num_tasks=number, num_slots=SLOTS)
        self.culprits = Culprits(num_slots=SLOTS)
        self.devices = {f"actor-{k}": f"gpu-{k}" for k in range(self.num_actors)}
        self.coming: list[tuple[float, int, str, Attempt | None]] = []
        self.numbers = count(self.num_actors)
        for actor in self.devices:
            self.schedule.join(actor)

    def play(self) -> "Story":
        while not self.schedule.is_finished:
            while order := self.schedule.next():
                kind = self.fate(self.devices[order[0]], order[1])
                self.later(FAST if kind else LIFE, *order)
            self.now, _, actor, attempt = heapq.heappop(self.coming)
            if attempt is None:
                self.schedule.join(actor)
            elif actor in self.devices:
                self.answer(actor, attempt)
        return self

    def later(self, seconds: float, actor: str, attempt: Attempt | None) -> None:
        heapq.heappush(self.coming, (self.now + seconds, next(self.numbers), actor, attempt))

    def answer(self, actor: str, attempt: Attempt) -> None:
        kind = self.fate(self.devices[actor], attempt)
        outcome = Outcome(
            asset_id=attempt.task.asset_id,
            attempt_id=attempt.attempt_id,
            status="failed" if kind else "committed",
            error_kind=kind,
        )
        failure = self.schedule.settle(actor, outcome)
        if failure is None:
            self.replace(self.culprits.made(actor))
            return
        if failure.decision.gives_up:
            self.given_up.append(failure)
        self.replace(self.culprits.failed(actor, failure))

    def replace(self, culprits: Mapping[str, Failures]) -> None:
        for actor, failures in culprits.items():
            self.schedule.forgive(actor, failures)
            self.schedule.lose(actor, "replaced", cause="node")
            self.num_replaced += 1
            self.pardoned.update(chain.from_iterable(failures.values()))
            name = f"actor-{next(self.numbers)}"
            self.devices[name] = self.devices.pop(actor)
            self.later(LOADING, name, None)


def broken(kind: str, *gpus: str) -> Fate:
    """Devices on which everything fails."""

    def fate(gpu: str, attempt: Attempt) -> str | None:
        if gpu not in gpus:
            return None
        return "suspect" if kind in ("internal", "actor_died") and not attempt.alone else kind

    return fate


KINDS = ["internal", "out_of_memory", "export", "store", "actor_died"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_bad", [1, 10])
def test_bad_actors_take_no_prompt_with_them(kind: str, num_bad: int) -> None:
    bad = [f"gpu-{k}" for k in range(num_bad)]
    story = Story(broken(kind, *bad), num_actors=100, num_tasks=4000).play()
    assert story.num_replaced >= num_bad
    assert story.given_up == []
    assert story.now < 2 * LIFE * 4000 / (100 * SLOTS), "and little time"


def poisonous(share: int) -> Fate:
    """One prompt in so many kills whatever makes it."""

    def fate(gpu: str, attempt: Attempt) -> str | None:
        if int(attempt.task.asset_id, 16) % share:
            return None
        return "actor_died" if attempt.alone else "suspect"

    return fate


@pytest.mark.parametrize("num_actors", [1, 2, 100])
def test_where_all_prompts_are_poison_all_are_given_up_after_three_attempts(
    num_actors: int,
) -> None:
    story = Story(poisonous(1), num_actors=num_actors, num_tasks=500).play()
    assert {failure.attempt.number for failure in story.given_up} == {3}
    assert (len(story.given_up), story.num_replaced) == (500, 0)


def test_poison_among_others_is_given_up_and_nothing_else() -> None:
    story = Story(poisonous(20), num_actors=50, num_tasks=2000).play()
    found = {int(failure.attempt.task.asset_id, 16) for failure in story.given_up}
    assert found == set(range(0, 2000, 20))


def test_what_was_given_up_stays_so_although_actors_are_found_at_fault() -> None:
    """Poison in such numbers that some actor is sent three in a row."""

    def fate(gpu: str, attempt: Attempt) -> str | None:
        return "internal" if int(attempt.task.asset_id, 16) % 3 else None

    story = Story(fate, num_actors=3, num_tasks=600).play()
    assert story.num_replaced > 0
    assert story.pardoned
    given_up = [failure.attempt for failure in story.given_up]
    assert {int(attempt.task.asset_id, 16) for attempt in given_up} == {
        number for number in range(600) if number % 3
    }
    assert story.pardoned.isdisjoint(attempt.attempt_id for attempt in given_up)


@pytest.mark.parametrize("kind", KINDS)
def test_one_actor_by_itself_is_never_replaced(kind: str) -> None:
    story = Story(broken(kind, "gpu-0"), num_actors=1, num_tasks=30).play()
    assert (len(story.given_up), story.num_replaced) == (30, 0)
    num_attempts = (retry.TABLE[kind].retries or 0) + 1 + (kind in ("internal", "actor_died"))
    assert {failure.attempt.number for failure in story.given_up} == {num_attempts}
