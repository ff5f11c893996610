"""The schedule against a simulated pool: nothing lost, nothing twice, nobody blamed wrongly."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import retry
from pipeline.records import Outcome, Task
from pipeline.schedule import LOOKAHEAD, Attempt, Schedule
from tests.pipeline.sample_assets import sample_task


def tasks(number: int, *, prompt: str = "a ball") -> list[Task]:
    return [sample_task(k, prompt=f"{prompt} {k}") for k in range(number)]


def drain(schedule: Schedule, ready: list[str], **options: int) -> list[tuple[str, Attempt]]:
    """All orders that can be given now."""
    orders = []
    while order := schedule.next(ready, **options):
        orders.append(order)
    return orders


def committed(attempt: Attempt) -> Outcome:
    return Outcome(
        asset_id=attempt.task.asset_id, attempt_id=attempt.attempt_id, status="committed"
    )


def failed(attempt: Attempt, kind: str) -> Outcome:
    return Outcome(
        asset_id=attempt.task.asset_id,
        attempt_id=attempt.attempt_id,
        status="failed",
        error_kind=kind,
    )


def test_an_actor_gets_its_slots_and_a_little_more() -> None:
    schedule = Schedule(tasks(20), num_slots=4)
    orders = drain(schedule, ["a"])
    assert len(orders) == schedule.load("a") == 4 + LOOKAHEAD
    assert [attempt.number for _, attempt in orders] == [1] * 5
    assert schedule.settle("a", committed(orders[0][1])) is None
    assert len(drain(schedule, ["a"])) == 1


def test_orders_keep_the_order_of_the_manifest() -> None:
    schedule = Schedule(tasks(3), num_slots=4)
    assert [attempt.task.prompt.row for _, attempt in drain(schedule, ["a"])] == [0, 1, 2]


def test_the_last_tasks_are_shared_out() -> None:
    schedule = Schedule(tasks(6), num_slots=8)
    assert Counter(actor for actor, _ in drain(schedule, ["a", "b", "c"])) == Counter("aabbcc")


def test_tasks_are_kept_back_for_an_actor_that_is_coming() -> None:
    schedule = Schedule(tasks(4), num_slots=8)
    assert len(drain(schedule, ["a"], num_coming=1)) == 2
    assert len(drain(schedule, ["a", "b"])) == 2
    assert schedule.load("b") == 2


def test_nobody_is_ready() -> None:
    schedule = Schedule(tasks(1), num_slots=1)
    assert schedule.next([]) is None
    assert not schedule.is_finished


def test_a_poison_prompt_dies_alone() -> None:
    schedule = Schedule(tasks(4), num_slots=2)
    orders = drain(schedule, ["a"])
    assert len(orders) == 3
    poison = orders[1][1].task.asset_id
    lost = schedule.lose("a", "died")
    assert {loss.kind for loss in lost} == {"suspect"}
    assert (schedule.num_suspects, schedule.num_waiting) == (3, 1)
    finished, deaths = [], []
    while not schedule.is_finished:
        (order,) = drain(schedule, ["a"])
        attempt = order[1]
        assert attempt.alone or not schedule.num_suspects
        if attempt.task.asset_id == poison:
            deaths += schedule.lose("a", "died")
        else:
            assert schedule.settle("a", committed(attempt)) is None
            finished.append(attempt.task.asset_id)
    assert [loss.kind for loss in deaths] == ["actor_died"] * 2
    assert [loss.decision.gives_up for loss in deaths] == [False, True]
    assert deaths[-1].attempt.number == 3
    assert len(finished) == 3


def test_a_full_actor_is_emptied_for_a_suspect_and_the_others_go_on() -> None:
    schedule = Schedule(tasks(40), num_slots=2)
    orders = drain(schedule, ["a", "b", "c"])
    schedule.lose("c", "died")
    held = {name: [x for actor, x in orders if actor == name] for name in "ab"}
    assert drain(schedule, ["a", "b"]) == []
    schedule.settle("a", committed(held["a"][0]))
    assert drain(schedule, ["a", "b"]) == [], "a is the emptier one and is let run empty"
    schedule.settle("b", committed(held["b"][0]))
    schedule.settle("a", committed(held["a"][1]))
    assert [actor for actor, _ in drain(schedule, ["a", "b"])] == ["b"]
    schedule.settle("a", committed(held["a"][2]))
    ((actor, attempt),) = drain(schedule, ["a", "b"])
    assert (actor, attempt.alone) == ("a", True)
    schedule.settle("b", committed(held["b"][1]))
    ((actor, attempt),) = drain(schedule, ["a", "b"])
    assert (actor, attempt.alone) == ("b", False), "one actor is enough for the suspects"


def test_a_lost_machine_is_nobodys_fault() -> None:
    schedule = Schedule(tasks(1), num_slots=1)
    for _ in range(retry.TABLE["node_lost"].retries):
        ((_, attempt),) = drain(schedule, ["a"])
        assert not attempt.alone
        (loss,) = schedule.lose("a", "gone", node_lost=True)
        assert (loss.kind, loss.decision.change) == ("node_lost", "same")


def test_a_new_seed_after_divergence() -> None:
    schedule = Schedule(tasks(1), num_slots=1)
    seeds = []
    for expected in ("new_seed", "new_seed", None):
        ((_, attempt),) = drain(schedule, ["a"])
        seeds.append(attempt.seed)
        loss = schedule.settle("a", failed(attempt, "diverged"))
        assert loss is not None
        assert loss.decision.change == expected
    assert seeds == [retry.attempt_seed(0, n) for n in range(3)]
    assert schedule.is_finished


def test_earlier_runs_count() -> None:
    (task,) = tasks(1)
    schedule = Schedule([task], num_slots=1, histories={task.asset_id: ["actor_died"]})
    ((_, attempt),) = drain(schedule, ["a"])
    assert (attempt.number, attempt.alone) == (2, True)
    (loss,) = schedule.lose("a", "died")
    assert loss.decision.gives_up


def test_the_same_task_twice_is_a_mistake_of_the_plan() -> None:
    with pytest.raises(AssertionError, match="planned twice"):
        Schedule([sample_task(0), sample_task(0)], num_slots=1)


@given(
    number=st.integers(0, 30),
    num_slots=st.integers(1, 4),
    actors=st.integers(1, 4),
    poisons=st.sets(st.integers(0, 29), max_size=4),
    seed=st.integers(0, 2**32),
)
def test_every_task_ends_once(
    number: int, num_slots: int, actors: int, poisons: set[int], seed: int
) -> None:
    """Random outcomes, deaths by poison and by accident, actors that come and go."""
    world = random.Random(seed)
    schedule = Schedule(tasks(number), num_slots=num_slots)
    held: dict[str, list[Attempt]] = {f"actor-{k}": [] for k in range(actors)}
    ends: Counter[str] = Counter()
    made: set[int] = set()
    while not schedule.is_finished:
        ready = world.sample(list(held), world.randint(1, actors))
        for actor, attempt in drain(schedule, ready):
            held[actor].append(attempt)
        _check_company(held, num_slots)
        busy = [actor for actor in held if held[actor]]
        if not busy:
            continue
        actor = world.choice(busy)
        victim = next((a for a in held[actor] if a.task.prompt.row in poisons), None)
        if victim is not None or world.random() < 0.05:
            losses = schedule.lose(actor, "died")
            assert [x.attempt for x in losses] == held[actor]
            held[actor] = []
            for loss in losses:
                assert (loss.kind == "actor_died") == (len(losses) == 1)
                ends[loss.attempt.task.asset_id] += loss.decision.gives_up
            continue
        attempt = held[actor].pop(world.randrange(len(held[actor])))
        kind = world.choice([None, None, None, "diverged", "store", "suspect", "internal"])
        failure = schedule.settle(actor, failed(attempt, kind) if kind else committed(attempt))
        ends[attempt.task.asset_id] += failure is None or failure.decision.gives_up
        if failure is None:
            made.add(attempt.task.prompt.row)
    assert ends == Counter(task.asset_id for task in tasks(number))
    assert made.isdisjoint(poisons)


def _check_company(held: dict[str, list[Attempt]], num_slots: int) -> None:
    for attempts in held.values():
        assert len(attempts) <= num_slots + LOOKAHEAD
        assert len(attempts) == 1 or not any(attempt.alone for attempt in attempts)
    running = [attempt.task.asset_id for attempts in held.values() for attempt in attempts]
    assert len(running) == len(set(running))
