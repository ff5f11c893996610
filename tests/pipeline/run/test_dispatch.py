"""The loop, against a fleet whose events the test writes."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pipeline.errors import RunError
from pipeline.fleet.fleet import Event, Glimpsed, Joined, Lost, Parted, Said, Settled
from pipeline.metrics import JobMetrics
from pipeline.records import Attempt, Glance, Outcome, Task
from pipeline.run import refusals
from pipeline.run.dispatch import LEAVING_SECONDS, Dispatcher
from pipeline.run.ledger import Ledger
from pipeline.run.progress import LineDisplay
from pipeline.run.refusals import MOST_REFUSED
from pipeline.run.schedule import Schedule
from tests.pipeline.sample_assets import open_store, sample_task

Turn = Callable[["ScriptedFleet"], Sequence[Event]]
"""What happens in one turn; it may look at what was sent so far."""


class ScriptedFleet:
    """A fleet that does turn by turn what the test says; a turn takes a second."""

    def __init__(self, turns: Sequence[Turn], *, num_coming: int = 0) -> None:
        self.turns = list(turns)
        self.num_coming = num_coming
        self.now = 0.0
        self.sent: list[tuple[str, Attempt]] = []
        self.released: list[str] = []
        self.replaced: list[str] = []
        self.has_released_coming = False
        self.has_left = False

    def send(self, actor: str, attempt: Attempt) -> None:
        self.sent.append((actor, attempt))

    def events(self, timeout: float) -> Sequence[Event]:
        self.now += 1.0
        return self.turns.pop(0)(self) if self.turns else []

    def replace(self, actor: str) -> None:
        self.replaced.append(actor)

    def release(self, actor: str) -> None:
        self.released.append(actor)

    def release_coming(self) -> None:
        self.has_released_coming = True

    def leave(self) -> None:
        self.has_left = True

    def close(self) -> None:
        raise AssertionError("whoever made the fleet closes it")


class Stage:
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.ordered_ids: list[str] = []
        self.settled_ids: list[str] = []

    def check(self) -> None:
        pass

    def ordered(self, task: Task) -> None:
        self.ordered_ids.append(task.asset_id)

    def settled(self, task: Task) -> None:
        self.settled_ids.append(task.asset_id)


class Bench:
    """A dispatcher of so many tasks with one slot an actor, and the turns of its fleet."""

    def __init__(self, tmp_path: Path, num_tasks: int, *turns: Turn, num_coming: int = 0) -> None:
        self.tasks = [sample_task(k) for k in range(num_tasks)]
        self.fleet = ScriptedFleet(turns, num_coming=num_coming)
        self.stream = io.StringIO()
        self.store = open_store(str(tmp_path))
        self.metrics = JobMetrics()
        self.schedule = Schedule(self.tasks, num_tasks=num_tasks, num_slots=1)
        self.ledger = Ledger(
            self.store, LineDisplay(self.stream), self.metrics, num_tasks=num_tasks
        )
        self.stage = Stage()
        self.dispatcher = Dispatcher(
            self.fleet,
            self.schedule,
            self.ledger,
            stage=self.stage,
            clock=lambda: self.fleet.now,
        )


def says(*events: Event) -> Turn:
    return lambda fleet: events


def join(*actors: str) -> Turn:
    return says(*(Joined(actor=actor) for actor in actors))


def settled(actor: str, attempt: Attempt, kind: str | None = None, seconds: float = 1.0) -> Settled:
    outcome = Outcome(
        asset_id=attempt.task.asset_id,
        attempt_id=attempt.attempt_id,
        status="committed" if kind is None else "failed",
        error_kind=kind,
        message="no space left",
        gpu_seconds=seconds,
    )
    return Settled(actor=actor, attempt=attempt, outcome=outcome)


def answer(number: int, kind: str | None = None) -> Turn:
    """The order of that number is answered."""
    return lambda fleet: [settled(*fleet.sent[number], kind)]


def answer_last(kind: str | None = None) -> Turn:
    return lambda fleet: [settled(*fleet.sent[-1], kind)]


def answer_newest(fleet: ScriptedFleet) -> Sequence[Event]:
    """The newest order of each asset ends with it in the store."""
    newest = {attempt.task.asset_id: (actor, attempt) for actor, attempt in fleet.sent}
    return [settled(actor, attempt) for actor, attempt in newest.values()]


def test_all_that_is_asked_for_is_sent_and_settled(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 3, join("a"), answer(0), answer(1), answer(2))
    bench.dispatcher.run()
    assert [attempt.task for _, attempt in bench.fleet.sent] == bench.tasks
    assert bench.schedule.is_finished
    assert bench.ledger.totals.num_committed == 3
    ids = [task.asset_id for task in bench.tasks]
    assert (bench.stage.ordered_ids, bench.stage.settled_ids) == (ids, ids)
    assert bench.metrics.totals()['dreambatch_queue{state="running"}'] == 0


def test_a_failure_is_tried_again_and_given_up_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 1, join("a"), *[answer_last("diverged")] * 3)
    bench.dispatcher.run()
    assert len(bench.fleet.sent) == len(bench.stage.ordered_ids) == 3
    assert bench.stage.settled_ids == [bench.tasks[0].asset_id]
    assert bench.ledger.totals.num_quarantined == 1
    assert bench.ledger.totals.gpu_seconds_wasted == {"diverged": 3.0}


def test_parted_actors_get_nothing_until_they_join_again(tmp_path: Path) -> None:
    def nothing(fleet: ScriptedFleet) -> Sequence[Event]:
        assert len(fleet.sent) == 2
        return []

    part = says(Parted(actor="a"))
    bench = Bench(
        tmp_path, 3, join("a"), part, answer(0), nothing, answer(1), nothing, join("a"), answer(2)
    )
    bench.dispatcher.run()
    assert bench.ledger.totals.num_committed == 3


@pytest.mark.parametrize(
    ("cause", "kind"), [("node", "node_lost"), ("process", "actor_died"), ("hung", "hung")]
)
def test_what_a_lost_actor_held_goes_to_another(tmp_path: Path, cause: str, kind: str) -> None:
    lost = {sample_task(0).asset_id: 5.0, "an asset that is over": 3.0}
    loss = Lost(actor="a", cause=cause, message="it is gone", gpu_seconds=lost)  # pyright: ignore[reportArgumentType]
    bench = Bench(tmp_path, 1, join("a"), says(loss), join("b"), answer(1))
    bench.dispatcher.run()
    assert [actor for actor, _ in bench.fleet.sent] == ["a", "b"]
    totals = bench.ledger.totals
    assert (totals.gpu_seconds_useful, totals.gpu_seconds_wasted) == (1.0, {kind: 5.0})
    assert bench.metrics.totals()[f'dreambatch_actors_lost_total{{cause="{cause}"}}'] == 1
    assert "lost a with 1 prompts: it is gone" in bench.stream.getvalue()


def test_idle_actors_are_released_at_the_tail(tmp_path: Path) -> None:
    def look(fleet: ScriptedFleet) -> Sequence[Event]:
        assert (fleet.released, fleet.has_released_coming) == (["b"], True)
        return []

    bench = Bench(tmp_path, 2, join("a", "b"), answer(1), look, answer(0))
    bench.dispatcher.run()
    assert [actor for actor, _ in bench.fleet.sent] == ["a", "b"]


def test_nobody_is_released_while_it_is_not_known_what_is_left(tmp_path: Path) -> None:
    def look(fleet: ScriptedFleet) -> Sequence[Event]:
        assert fleet.released == []
        return []

    loss = says(Lost(actor="a", cause="node", message="gone"))
    part = says(Parted(actor="a"), Joined(actor="c"))
    bench = Bench(tmp_path, 2, join("a", "b"), part, answer(1), look, loss, answer(2))
    bench.dispatcher.run()
    assert bench.fleet.sent[2][0] in {"b", "c"}


def test_the_last_tasks_wait_for_actors_that_come_but_not_for_ever(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 2, join("a"), num_coming=1)

    def late(fleet: ScriptedFleet) -> Sequence[Event]:
        assert len(fleet.sent) == (1 if fleet.now <= 120 else 2), fleet.now
        return [settled(*fleet.sent[k]) for k in range(2)] if len(fleet.sent) == 2 else []

    bench.fleet.turns += [late] * 130
    bench.dispatcher.run()
    assert bench.fleet.now > 120


def test_glances_and_words_are_passed_on(tmp_path: Path) -> None:
    words = says(Said(text="an actor was replaced: torn"))
    glance = says(Glimpsed(actor="a", glance=Glance(stuck_seconds=7.0)))
    bench = Bench(tmp_path, 1, join("a"), words, glance, answer(0))
    bench.dispatcher.run()
    assert "an actor was replaced: torn" in bench.stream.getvalue()
    assert bench.metrics.totals()["dreambatch_stuck_seconds"] == 7.0


def stop(bench: Bench) -> Turn:
    def turn(fleet: ScriptedFleet) -> Sequence[Event]:
        bench.dispatcher.stop()
        return []

    return turn


def test_a_stopped_run_asks_all_to_leave_and_hears_them(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 5, join("a", "b"))
    bench.fleet.turns += [stop(bench), answer(0, "preempted"), answer(1)]
    bench.fleet.turns += [answer(2, "preempted"), answer(3, "preempted")]
    bench.dispatcher.run()
    assert bench.fleet.has_left
    assert (bench.schedule.num_running, bench.schedule.num_waiting) == (0, 4)
    assert len(bench.fleet.sent) == 4, "nothing is sent any more"
    totals = bench.ledger.totals
    assert (totals.num_committed, totals.num_failed_attempts) == (1, 0)
    assert totals.gpu_seconds_wasted == {"preempted": 3.0}
    assert bench.metrics.totals()['dreambatch_attempts_total{outcome="preempted"}'] == 3


def test_who_does_not_answer_is_left_behind(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 2, join("a", "b"))
    bench.fleet.turns += [stop(bench)]
    bench.dispatcher.run()
    assert bench.schedule.num_running == 2
    assert LEAVING_SECONDS <= bench.fleet.now - 2 <= LEAVING_SECONDS + 1


def test_a_store_that_refuses_everything_ends_the_run(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 30, join("a"), *[answer(k, "store") for k in range(MOST_REFUSED)])
    with pytest.raises(RunError, match="the output refuses what is made: no space left"):
        bench.dispatcher.run()
    assert bench.ledger.totals.num_quarantined == 0


def test_a_run_that_is_given_up_asks_all_to_leave_first(tmp_path: Path) -> None:
    refused = [answer(k, "store") for k in range(MOST_REFUSED)]
    bench = Bench(tmp_path, 30, join("a"), *refused)
    num_held = 1
    bench.fleet.turns += [
        lambda fleet: [settled(a, x, "preempted") for a, x in fleet.sent[-num_held:]],
    ]
    with pytest.raises(RunError, match="the output refuses what is made: no space left"):
        bench.dispatcher.run()
    assert bench.fleet.has_left
    assert bench.schedule.num_running == 0
    assert bench.metrics.totals()['dreambatch_attempts_total{outcome="preempted"}'] == num_held


def test_nobody_is_given_up_while_a_refused_run_leaves(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 2, join("a", "b"))

    def refuse(fleet: ScriptedFleet) -> Sequence[Event]:
        return [settled(*sent, "store") for sent in fleet.sent[-2:]]

    bench.fleet.turns += [refuse] * 3
    with pytest.raises(RunError, match="the output refuses"):
        bench.dispatcher.run()
    assert not any(failure.quarantined for failure in bench.store.failures())


def test_an_actor_that_fails_everything_is_replaced_and_forgiven(tmp_path: Path) -> None:
    """One actor fails three prompts, another makes one: no charge stands in the store."""
    bench = Bench(tmp_path, 8)
    ended: list[str] = []

    def work(fleet: ScriptedFleet) -> Sequence[Event]:
        events: list[Event] = []
        for actor, attempt in fleet.sent:
            # One failure a turn: what fails after the third is charged like any other.
            is_bad = any(isinstance(x, Settled) and x.actor == actor == "bad" for x in events)
            if attempt.attempt_id not in ended and actor not in fleet.replaced and not is_bad:
                ended.append(attempt.attempt_id)
                events.append(settled(actor, attempt, "export" if actor == "bad" else None))
        return events

    def lose(fleet: ScriptedFleet) -> Sequence[Event]:
        assert fleet.replaced == ["bad"]
        return [Lost(actor="bad", cause="node", message="replaced"), Joined(actor="new")]

    bench.fleet.turns += [join("bad", "good"), work, work, work, lose, *[work] * 20]
    bench.dispatcher.run()
    assert bench.fleet.replaced == ["bad"]
    assert (bench.ledger.totals.num_committed, bench.ledger.totals.num_quarantined) == (8, 0)
    assert [actor for actor, _ in bench.fleet.sent].count("bad") >= 3
    assert list(bench.store.failures()) == []
    assert "bad is replaced" in bench.stream.getvalue()


def test_a_lone_asset_is_not_given_up_for_the_store(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 1, join("a"), *[answer_last("store")] * 3)
    with pytest.raises(RunError, match="the output refuses"):
        bench.dispatcher.run()
    assert not any(failure.quarantined for failure in bench.store.failures())


@pytest.mark.parametrize("is_at_work", [False, True])
def test_texts_that_never_come_end_the_run_unless_somebody_is_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_at_work: bool
) -> None:
    monkeypatch.setattr(refusals, "STARVING_SECONDS", 5.0)
    glance = Glance(fractions={"another": 0.5} if is_at_work else {})

    def starve(fleet: ScriptedFleet) -> Sequence[Event]:
        actor, attempt = fleet.sent[-1]
        return [] if fleet.has_left else [settled(actor, attempt, "encode")]

    turns = [starve, says(Glimpsed(actor="a", glance=glance))] * 10
    bench = Bench(tmp_path, 2, join("a"), *turns, answer_newest)
    if is_at_work:
        bench.dispatcher.run()
        assert bench.ledger.totals.num_committed == 2
    else:
        with pytest.raises(RunError, match="no texts can be had: no space left"):
            bench.dispatcher.run()
        assert bench.fleet.has_left
    assert bench.ledger.totals.num_quarantined == 0
    assert list(bench.store.failures()) == []


def test_an_asset_that_alone_is_refused_is_given_up(tmp_path: Path) -> None:
    def turn(fleet: ScriptedFleet) -> Sequence[Event]:
        actor, attempt = fleet.sent[len(done)]
        done.append(attempt)
        return [settled(actor, attempt, "store" if attempt.task == bench.tasks[0] else None)]

    done: list[Attempt] = []
    bench = Bench(tmp_path, 4, join("a"), *[turn] * 6)
    bench.dispatcher.run()
    totals = bench.ledger.totals
    assert (totals.num_committed, totals.num_quarantined) == (3, 1)
