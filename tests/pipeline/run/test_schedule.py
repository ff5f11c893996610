"""The schedule: nothing lost, nothing twice, nobody blamed wrongly; as a plain one would have it.

`PlainSchedule` is the oracle: all tasks in lists, all actors looked at for every order.
"""

import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pipeline import retry
from pipeline.records import Attempt, Cause, Outcome, Task
from pipeline.run.schedule import ACTORS_FOR_A_SUSPECT, Failed, Schedule
from tests.pipeline.sample_assets import sample_task


def tasks(number: int, *, prompt: str = "a ball") -> list[Task]:
    return [sample_task(k, prompt=f"{prompt} {k}") for k in range(number)]


def scheduled(
    tasks: Sequence[Task],
    *actors: str,
    num_slots: int,
    lookahead: int = 1,
    histories: Mapping[str, Sequence[str]] | None = None,
    resumable: frozenset[str] = frozenset(),
) -> Schedule:
    """A schedule of these tasks that the actors have joined."""
    schedule = Schedule(
        iter(tasks),
        num_tasks=len(tasks),
        num_slots=num_slots,
        lookahead=lookahead,
        histories=histories or {},
        resumable=resumable,
    )
    for actor in actors:
        schedule.join(actor)
    return schedule


def drain(schedule: Schedule, num_coming: int = 0) -> list[tuple[str, Attempt]]:
    """All orders that can be given now."""
    orders = []
    while order := schedule.next(num_coming):
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


@pytest.mark.parametrize("lookahead", [1, 3])
def test_an_actor_gets_its_slots_and_a_little_more(lookahead: int) -> None:
    """However long it is silent: what it has finished and not published is bounded by that."""
    schedule = scheduled(tasks(20), "a", num_slots=4, lookahead=lookahead)
    assert schedule.num_slots == 4
    orders = drain(schedule)
    assert len(orders) == schedule.load("a") == 4 + lookahead
    assert [attempt.number for _, attempt in orders] == [1] * len(orders)
    assert schedule.settle("a", committed(orders[0][1])) is None
    assert len(drain(schedule)) == 1


def test_orders_keep_the_order_of_the_manifest() -> None:
    schedule = scheduled(tasks(3), "a", num_slots=4)
    assert [attempt.task.prompt.row for _, attempt in drain(schedule)] == [0, 1, 2]


def test_the_last_tasks_are_shared_out() -> None:
    schedule = scheduled(tasks(6), "a", "b", "c", num_slots=8)
    assert Counter(actor for actor, _ in drain(schedule)) == Counter("aabbcc")


def test_tasks_are_kept_back_for_an_actor_that_is_coming() -> None:
    schedule = scheduled(tasks(4), "a", num_slots=8)
    assert len(drain(schedule, num_coming=1)) == 2
    schedule.join("b")
    assert len(drain(schedule)) == 2
    assert schedule.load("b") == 2


def test_nobody_has_joined() -> None:
    schedule = scheduled(tasks(1), num_slots=1)
    assert schedule.next() is None
    assert not schedule.is_finished


def test_no_work_at_all() -> None:
    schedule = scheduled([], "a", num_slots=1)
    assert schedule.is_finished
    assert schedule.next() is None
    assert schedule.idle() == ["a"]


def test_tasks_are_drawn_as_they_are_needed() -> None:
    drawn = []

    def source() -> Iterator[Task]:
        for task in tasks(1000):
            drawn.append(task)
            yield task

    schedule = Schedule(source(), num_tasks=1000, num_slots=4)
    assert (len(drawn), schedule.num_waiting) == (0, 1000)
    schedule.join("a")
    orders = drain(schedule)
    assert len(drawn) == len(orders) + 1, "and the next is at hand"
    assert (schedule.num_waiting, schedule.num_running) == (995, 5)


def test_fewer_tasks_than_promised_are_a_mistake_of_the_plan() -> None:
    schedule = Schedule(iter(tasks(1)), num_tasks=2, num_slots=1)
    schedule.join("a")
    with pytest.raises(AssertionError, match="1 fewer tasks than planned"):
        drain(schedule)


def test_an_actor_that_parted_keeps_what_it_holds_and_gets_nothing() -> None:
    schedule = scheduled(tasks(20), "a", "b", num_slots=4)
    held = [attempt for actor, attempt in drain(schedule) if actor == "a"]
    schedule.part("a")
    assert schedule.settle("a", committed(held[0])) is None
    assert drain(schedule) == []
    assert schedule.load("a") == 4
    schedule.join("a")
    assert [actor for actor, _ in drain(schedule)] == ["a"]


def test_idle_actors_are_those_that_joined_and_hold_nothing() -> None:
    schedule = scheduled(tasks(1), "a", "b", "c", num_slots=1)
    ((busy, attempt),) = drain(schedule)
    schedule.part("c")
    (idle,) = {"a", "b"} - {busy}
    assert schedule.idle() == [idle]
    schedule.settle(busy, committed(attempt))
    assert set(schedule.idle()) == {"a", "b"}
    assert schedule.is_finished


def test_a_poison_prompt_dies_alone() -> None:
    schedule = scheduled(tasks(4), "a", num_slots=2)
    orders = drain(schedule)
    assert len(orders) == 3
    poison = orders[1][1].task.asset_id
    lost = schedule.lose("a", "died", cause="process")
    assert {loss.kind for loss in lost} == {"suspect"}
    assert (schedule.num_suspects, schedule.num_waiting) == (3, 1)
    finished, deaths = [], []
    while not schedule.is_finished:
        schedule.join("a")
        (order,) = drain(schedule)
        attempt = order[1]
        assert attempt.alone or not schedule.num_suspects
        if attempt.task.asset_id == poison:
            deaths += schedule.lose("a", "died", cause="process")
        else:
            assert schedule.settle("a", committed(attempt)) is None
            finished.append(attempt.task.asset_id)
    assert [loss.kind for loss in deaths] == ["actor_died"] * 2
    assert [loss.decision.gives_up for loss in deaths] == [False, True]
    assert deaths[-1].attempt.number == 3
    assert len(finished) == 3


def test_a_full_actor_is_emptied_for_a_suspect_and_the_others_go_on() -> None:
    schedule = scheduled(tasks(40), "a", "b", "c", num_slots=2)
    orders = drain(schedule)
    schedule.lose("c", "died", cause="process")
    held = {name: [x for actor, x in orders if actor == name] for name in "ab"}
    assert drain(schedule) == []
    schedule.settle("a", committed(held["a"][0]))
    assert drain(schedule) == [], "a is the emptier one and is let run empty"
    schedule.settle("b", committed(held["b"][0]))
    schedule.settle("a", committed(held["a"][1]))
    assert [actor for actor, _ in drain(schedule)] == ["b"]
    schedule.settle("a", committed(held["a"][2]))
    ((actor, attempt),) = drain(schedule)
    assert (actor, attempt.alone) == ("a", True)
    schedule.settle("b", committed(held["b"][1]))
    ((actor, attempt),) = drain(schedule)
    assert (actor, attempt.alone) == ("b", False), "one actor is enough for the suspects"


def test_one_actor_in_fifty_serves_suspects() -> None:
    actors = [f"actor-{k}" for k in range(2 * ACTORS_FOR_A_SUSPECT)]
    schedule = scheduled(tasks(600), *actors, num_slots=1)
    orders = drain(schedule)
    for actor, cause in (("actor-0", "process"), ("actor-1", "process"), ("actor-2", "node")):
        schedule.lose(actor, "gone", cause=cause)  # pyright: ignore[reportArgumentType]
        schedule.join(actor)
    assert schedule.num_suspects == 2 * (1 + 1)
    sent, serving = drain(schedule), set[str]()
    assert [actor for actor, attempt in sent if attempt.alone] == ["actor-2"], "it is new"
    for actor, attempt in orders:
        if actor not in ("actor-0", "actor-1", "actor-2"):
            schedule.settle(actor, committed(attempt))
            sent += drain(schedule)
            serving = {name for name, x in sent if x.alone}
            assert len(serving) <= 2
            if len(serving) == 2:
                break
    assert len(serving) == 2


def test_what_an_actor_failed_goes_to_another_even_if_that_one_is_full() -> None:
    schedule = scheduled(tasks(4), "bad", "good", num_slots=1)
    orders = drain(schedule)
    for actor, attempt in orders:
        if actor == "bad":
            schedule.settle(actor, failed(attempt, "store"))
    assert schedule.idle() == ["bad"]
    assert drain(schedule) == []
    first = next(attempt for actor, attempt in orders if actor == "good")
    schedule.settle("good", committed(first))
    ((actor, attempt),) = drain(schedule)
    assert (actor, attempt.number) == ("good", 2)
    schedule.part("good")
    ((actor, attempt),) = drain(schedule)
    assert (actor, attempt.number) == ("bad", 2), "there is no other one"


def test_what_failed_goes_to_an_actor_that_has_made_something() -> None:
    schedule = scheduled(tasks(9), "first", "second", "proven", num_slots=2)
    held = drain(schedule)
    for actor, attempt in held:
        if actor != "proven":
            schedule.settle(actor, failed(attempt, "store"))
    made = next(attempt for actor, attempt in held if actor == "proven")
    schedule.settle("proven", committed(made))
    assert {actor for actor, _ in drain(schedule)} == {"proven"}


def test_an_actor_at_fault_is_forgiven_by_its_prompts() -> None:
    schedule = scheduled(tasks(3), "bad", "good", num_slots=2)
    held = [attempt for actor, attempt in drain(schedule) if actor == "bad"]
    for attempt in held:
        schedule.settle("bad", failed(attempt, "internal"))
    assert schedule.num_suspects == len(held) == 2
    schedule.forgive("bad", [attempt.task.asset_id for attempt in held])
    assert (schedule.num_suspects, schedule.num_waiting) == (0, 2)
    again = drain(schedule)
    assert {actor for actor, _ in again} == {"good"}
    assert [(x.alone, x.number) for _, x in again] == [(False, 2)] * len(again)


def test_a_lost_machine_is_nobodys_fault() -> None:
    schedule = scheduled(tasks(1), num_slots=1)
    for _ in range(retry.MOST_IN_COMPANY - 1):
        schedule.join("a")
        ((_, attempt),) = drain(schedule)
        assert not attempt.alone
        (loss,) = schedule.lose("a", "gone", cause="node")
        assert (loss.kind, loss.decision.change) == ("node_lost", "same")


def test_who_loses_its_machine_again_and_again_is_made_alone() -> None:
    schedule = scheduled(tasks(2), num_slots=1)
    for _ in range(retry.MOST_IN_COMPANY):
        schedule.join("a")
        assert len(drain(schedule)) == 2
        schedule.lose("a", "gone", cause="node")
    for _ in range(50):
        schedule.join("a")
        ((_, attempt),) = drain(schedule)
        assert attempt.alone
        assert not schedule.lose("a", "gone", cause="node")[0].decision.gives_up


def test_an_actor_that_hangs_is_like_one_that_dies() -> None:
    schedule = scheduled(tasks(2), "a", num_slots=1)
    drain(schedule)
    assert [loss.kind for loss in schedule.lose("a", "hung", cause="hung")] == ["suspect"] * 2
    schedule.join("a")
    ((_, attempt),) = drain(schedule)
    assert attempt.alone
    assert [loss.kind for loss in schedule.lose("a", "hung", cause="hung")] == ["hung"]


def test_a_new_seed_after_divergence() -> None:
    schedule = scheduled(tasks(1), "a", num_slots=1)
    seeds = []
    for expected in ("new_seed", "new_seed", None):
        ((_, attempt),) = drain(schedule)
        seeds.append(attempt.seed)
        assert not attempt.may_resume, "a checkpoint would be of the other seed"
        loss = schedule.settle("a", failed(attempt, "diverged"))
        assert loss is not None
        assert loss.decision.change == expected
    assert seeds == [retry.attempt_seed(0, n) for n in range(3)]
    assert schedule.is_finished


def test_what_infrastructure_took_goes_first_and_what_failed_by_itself_last() -> None:
    schedule = scheduled(tasks(6), "a", num_slots=1)
    (_, by_itself), (_, taken) = drain(schedule)
    schedule.settle("a", failed(by_itself, "diverged"))
    schedule.settle("a", failed(taken, "node_lost"))
    rows = []
    while not schedule.is_finished:
        for _, attempt in drain(schedule):
            rows.append(attempt.task.prompt.row)
            schedule.settle("a", committed(attempt))
    assert rows == [1, 2, 3, 4, 5, 0]


def test_a_second_attempt_with_the_same_seed_may_resume() -> None:
    schedule = scheduled(tasks(1), "a", num_slots=1)
    ((_, attempt),) = drain(schedule)
    assert not attempt.may_resume
    schedule.settle("a", failed(attempt, "store"))
    ((_, attempt),) = drain(schedule)
    assert attempt.may_resume


def test_what_exhausts_the_memory_by_itself_is_made_alone_and_frugally() -> None:
    schedule = scheduled(tasks(3), "a", num_slots=2)
    first, *others = [attempt for _, attempt in drain(schedule)]
    schedule.settle("a", failed(first, "out_of_memory"))
    assert drain(schedule) == []
    for attempt in others:
        schedule.settle("a", committed(attempt))
    ((_, again),) = drain(schedule)
    assert (again.task, again.alone, again.is_frugal) == (first.task, True, True)


def test_a_checkpoint_that_the_plan_saw_is_resumed() -> None:
    first, second = tasks(2)
    schedule = scheduled([first, second], "a", num_slots=2, resumable=frozenset({second.asset_id}))
    assert [attempt.may_resume for _, attempt in drain(schedule)] == [False, True]


def test_earlier_runs_count() -> None:
    (task,) = tasks(1)
    schedule = scheduled([task], "a", num_slots=1, histories={task.asset_id: ["actor_died"]})
    ((_, attempt),) = drain(schedule)
    assert (attempt.number, attempt.alone) == (2, True)
    (loss,) = schedule.lose("a", "died", cause="process")
    assert loss.decision.gives_up


def test_the_same_task_twice_is_a_mistake_of_the_plan() -> None:
    schedule = scheduled([sample_task(0), sample_task(0)], "a", num_slots=2)
    with pytest.raises(AssertionError, match="planned twice"):
        drain(schedule)


def test_an_order_costs_the_same_however_many_actors_there_are() -> None:
    """A thousand actors of eight slots: orders and settlements of all of them within a second or
    two, where a look at every actor for each would take minutes."""
    actors = [f"actor-{k}" for k in range(1000)]
    (task,) = tasks(1)
    plenty = (replace(task, asset_id=f"{k:032x}") for k in range(20_000))
    schedule = Schedule(plenty, num_tasks=20_000, num_slots=8)
    for actor in actors:
        schedule.join(actor)
    began, number = time.process_time(), 0
    while not schedule.is_finished:
        for actor, attempt in drain(schedule):
            schedule.settle(actor, committed(attempt))
            number += 1
    assert number == 20_000
    assert time.process_time() - began < 4.0


@dataclass
class Story:
    """What the oracle knows of one task."""

    task: Task
    history: list[tuple[str, str | None]] = field(default_factory=list)
    num_attempts: int = 0
    num_reseeds: int = 0
    avoided: set[str] = field(default_factory=set)
    was_sent_alone: bool = False
    """Stays so until the attempt is over, even if what made it a suspect is forgiven meanwhile."""

    def changes(self) -> list[str | None]:
        kinds = [kind for kind, _ in self.history]
        return [retry.decide(kinds[: number + 1]).change for number in range(len(kinds))]

    @property
    def alone(self) -> bool:
        return any(change in ("alone", "frugal") for change in self.changes())


class PlainSchedule:
    """The oracle: the rules as one would write them down, with a look at everybody every time."""

    def __init__(self, stories: list[Story], most: int) -> None:
        self.most = most
        self.never_tried = stories
        self.suspects: list[Story] = []
        self.taken_away: list[Story] = []
        self.failed: list[Story] = []
        self.held: dict[str, list[Story]] = {}
        self.actors: list[str] = []
        """Those that have joined; the one whose load changed last comes last."""
        self.trust: dict[str, int] = {}
        """0 after a success, 1 for an actor that is new, 2 after a failure that may be its own."""

    def touch(self, actor: str) -> None:
        if actor in self.actors:
            self.actors.remove(actor)
            self.actors.append(actor)

    def load(self, actor: str) -> int:
        return len(self.held.get(actor, []))

    def is_alone(self, actor: str) -> bool:
        return any(story.was_sent_alone for story in self.held.get(actor, []))

    def next(self, num_coming: int) -> tuple[str, Story] | None:
        while self.never_tried and self.never_tried[0].alone:
            self.suspects.append(self.never_tried.pop(0))
        if not self.actors:
            return None
        kept: list[str] = []
        if self.suspects:
            able = self.able(self.suspects[0])
            if able and not self.load(able[0]):
                return self.send(able[0], self.suspects)
            most = max(1, len(self.actors) // ACTORS_FOR_A_SUSPECT)
            number = most - sum(map(self.is_alone, self.actors))
            kept = able[: max(0, min(number, len(self.suspects)))]
        waiting = [*self.taken_away, *self.never_tried, *self.failed]
        running = sum(map(len, self.held.values()))
        num_actors = len(self.actors) + num_coming
        share = (len(waiting) + running + num_actors - 1) // num_actors
        window = min(self.most, max(1, share))
        for queue in (self.taken_away, self.never_tried, self.failed):
            for actor in self.able(queue[0]) if queue else []:
                if actor not in kept and self.load(actor) < window:
                    return self.send(actor, queue)
        return None

    def able(self, story: Story) -> list[str]:
        """Who may be sent a task: not who failed it, and of the others only the most trusted."""
        allowed = set(self.actors)
        if story.avoided and (others := allowed - story.avoided):
            best = min(self.trust.get(actor, 1) for actor in others)
            allowed = {actor for actor in others if self.trust.get(actor, 1) == best}
        actors = sorted(self.actors, key=lambda a: (self.load(a), self.trust.get(a, 1)))
        return [actor for actor in actors if actor in allowed and not self.is_alone(actor)]

    def send(self, actor: str, queue: list[Story]) -> tuple[str, Story]:
        story = queue.pop(0)
        story.num_attempts += 1
        story.was_sent_alone = story.alone
        self.held.setdefault(actor, []).append(story)
        self.touch(actor)
        return actor, story

    def settle(self, actor: str, asset_id: str, kind: str | None) -> bool | None:
        """Whether the task is given up; None if it is committed."""
        (story,) = [story for story in self.held[actor] if story.task.asset_id == asset_id]
        self.held[actor].remove(story)
        self.touch(actor)
        if kind is None or retry.policy(kind).elsewhere:
            self.trust[actor] = 0 if kind is None else 2
        return None if kind is None else self.fail(story, kind, actor)

    def lose(self, actor: str, kind: str) -> list[bool]:
        if actor in self.actors:
            self.actors.remove(actor)
        self.trust[actor] = 1 if kind == "node_lost" else 2
        return [self.fail(story, kind, actor) for story in self.held.pop(actor, [])]

    def forgive(self, actor: str, asset_ids: Sequence[str]) -> None:
        held = [story for stories in self.held.values() for story in stories]
        for story in [*held, *self.suspects, *self.taken_away, *self.failed]:
            if story.task.asset_id in asset_ids:
                story.history = [(kind, by) for kind, by in story.history if by != actor]
        self.taken_away += [story for story in self.suspects if not story.alone]
        self.suspects = [story for story in self.suspects if story.alone]

    def fail(self, story: Story, kind: str, actor: str) -> bool:
        story.history.append((kind, actor))
        if retry.policy(kind).elsewhere:
            story.avoided.add(actor)
        change = story.changes()[-1]
        if change is None:
            return True
        story.num_reseeds += change == "new_seed"
        if story.alone:
            self.suspects.append(story)
        else:
            (self.failed if retry.policy(kind).charged else self.taken_away).append(story)
        return False


ACTORS = tuple(f"actor-{k}" for k in range(4))
KINDS = tuple(retry.TABLE)
actor_names = st.sampled_from(ACTORS)


class Comparison(RuleBasedStateMachine):
    """Whatever joins, parts, deaths and answers come: both schedules give the same orders, and
    every task ends exactly once."""

    @initialize(
        number=st.integers(0, 25),
        num_slots=st.integers(1, 3),
        lookahead=st.integers(1, 3),
        histories=st.dictionaries(
            st.integers(0, 24), st.lists(st.sampled_from(KINDS), min_size=1, max_size=2), max_size=4
        ),
    )
    def start(
        self, number: int, num_slots: int, lookahead: int, histories: dict[int, list[str]]
    ) -> None:
        self.all = tasks(number)
        known = {
            task.asset_id: kinds
            for task in self.all
            if (kinds := histories.get(task.prompt.row)) and None not in retry.changes(kinds)
        }
        self.most = num_slots + lookahead
        self.schedule = scheduled(
            self.all, num_slots=num_slots, lookahead=lookahead, histories=known
        )
        stories = [Story(task) for task in self.all]
        for story in stories:
            story.history = [(kind, None) for kind in known.get(story.task.asset_id, ())]
            story.num_attempts = len(story.history)
            story.num_reseeds = story.changes().count("new_seed")
        self.plain = PlainSchedule(stories, self.most)
        self.joined: set[str] = set()
        self.held: dict[str, list[Attempt]] = {actor: [] for actor in ACTORS}
        self.committed: list[str] = []
        self.given_up: list[str] = []

    @rule(actor=actor_names)
    def join(self, actor: str) -> None:
        if actor not in self.joined:
            self.joined.add(actor)
            self.schedule.join(actor)
            self.plain.actors.append(actor)

    @rule(actor=actor_names)
    def part(self, actor: str) -> None:
        if actor in self.joined:
            self.joined.remove(actor)
            self.schedule.part(actor)
            self.plain.actors.remove(actor)

    @rule(num_coming=st.integers(0, 3))
    def order_some(self, num_coming: int) -> None:
        while self.order(num_coming):
            pass

    def order(self, num_coming: int = 0) -> bool:
        """Asks both schedules for an order; whether there was one."""
        order, expected = self.schedule.next(num_coming), self.plain.next(num_coming)
        assert (order is None) == (expected is None)
        if order is not None and expected is not None:
            actor, attempt = order
            story = expected[1]
            assert (actor, attempt.task) == (expected[0], story.task)
            self.check_attempt(attempt, story)
            self.held[actor].append(attempt)
        return order is not None

    def check_attempt(self, attempt: Attempt, story: Story) -> None:
        changes = story.changes()
        assert attempt.number == story.num_attempts
        assert attempt.alone == story.alone
        assert attempt.is_frugal == ("frugal" in changes)
        assert attempt.seed == retry.attempt_seed(attempt.task.prompt.seed, story.num_reseeds)

    @precondition(lambda self: any(self.held.values()))
    @rule(choice=st.randoms(use_true_random=False), kind=st.sampled_from([None, None, *KINDS]))
    def settle(self, choice: random.Random, kind: str | None) -> None:
        actor = choice.choice([actor for actor in ACTORS if self.held[actor]])
        attempt = self.held[actor].pop(choice.randrange(len(self.held[actor])))
        self.answer(actor, attempt, kind)

    def answer(self, actor: str, attempt: Attempt, kind: str | None) -> None:
        outcome = failed(attempt, kind) if kind else committed(attempt)
        failure = self.schedule.settle(actor, outcome)
        gives_up = self.plain.settle(actor, attempt.task.asset_id, kind)
        if failure is None:
            assert gives_up is None
            self.committed.append(attempt.task.asset_id)
        else:
            assert (failure.attempt, failure.kind) == (attempt, kind)
            self.note(failure, gives_up=gives_up)

    def note(self, failure: Failed, *, gives_up: bool | None) -> None:
        assert failure.decision.gives_up == gives_up
        if gives_up:
            self.given_up.append(failure.attempt.task.asset_id)

    @rule(actor=actor_names, cause=st.sampled_from(["node", "process", "hung"]))
    def lose(self, actor: str, cause: Cause) -> None:
        held, self.held[actor] = self.held[actor], []
        self.joined.discard(actor)
        by_itself = {"process": "actor_died", "hung": "hung"}
        kind = "node_lost" if cause == "node" else "suspect" if len(held) > 1 else by_itself[cause]
        losses = self.schedule.lose(actor, "gone", cause=cause)
        assert [(loss.attempt, loss.kind) for loss in losses] == [(x, kind) for x in held]
        for loss, gives_up in zip(losses, self.plain.lose(actor, kind), strict=True):
            self.note(loss, gives_up=gives_up)

    @rule(actor=actor_names, rows=st.sets(st.integers(0, 24)))
    def forgive(self, actor: str, rows: set[int]) -> None:
        asset_ids = [task.asset_id for task in self.all if task.prompt.row in rows]
        self.schedule.forgive(actor, asset_ids)
        self.plain.forgive(actor, asset_ids)

    @invariant()
    def every_task_is_in_one_place(self) -> None:
        running = [x.task.asset_id for held in self.held.values() for x in held]
        ended = [*self.committed, *self.given_up]
        assert len({*running, *ended}) == len(running) + len(ended)
        assert self.schedule.num_running == len(running)
        unfinished = self.schedule.num_waiting + self.schedule.num_suspects
        assert unfinished == len(self.all) - len(running) - len(ended)
        assert self.schedule.is_finished == (len(ended) == len(self.all))

    @invariant()
    def a_suspect_is_alone(self) -> None:
        for actor, held in self.held.items():
            assert self.schedule.load(actor) == len(held) <= self.most
            assert len(held) <= 1 or not any(attempt.alone for attempt in held)

    @invariant()
    def the_idle_are_told(self) -> None:
        assert set(self.schedule.idle()) == {x for x in self.joined if not self.held[x]}

    def teardown(self) -> None:
        """Nobody starves: once nothing fails any more, one actor brings everything to its end."""
        if not hasattr(self, "schedule"):
            return
        self.join(ACTORS[0])
        for _ in range(2 * len(self.all) + 1):
            while self.order():
                pass
            for actor in ACTORS:
                for attempt in self.held[actor]:
                    self.answer(actor, attempt, None)
                self.held[actor] = []
        assert self.schedule.is_finished
        assert self.schedule.next() is self.plain.next(0) is None


Comparison.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestComparison = Comparison.TestCase
