"""The pool's states, against actors whose answers the test writes."""

from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from pipeline.actor import ActorFacts
from pipeline.fleet import pool as pool_module
from pipeline.fleet.inbox import Inbox
from pipeline.fleet.pool import FAULT_PAUSE_SECONDS, MAX_COMING, MAX_FAULTS, ActorPool
from tests.pipeline.fake_ray import Call, FakeRay, Handle, task_error, unavailable


class Bench:
    """A pool of a test, its clock, and the actors it made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
        self.ray = FakeRay()
        monkeypatch.setattr(pool_module, "ray", self.ray)
        self.now = 0.0
        self.made: list[Handle] = []
        self.joined: list[str] = []
        self.inbox = Inbox()
        self.pool = ActorPool(
            self._make,
            self.inbox,
            size=size,
            on_ready=self.joined.append,
            deadline_seconds=100.0,
            clock=lambda: self.now,
        )
        self.pool.tend()

    def _make(self) -> Handle:
        self.made.append(Handle())
        return self.made[-1]

    @property
    def calls(self) -> list[Call]:
        return [call for handle in self.made for call in handle.open]

    def reply(self, answer: Any, *, expecting: str) -> None:
        """Answers the call of the actor that was made first and waits for one."""
        call = self.calls[0]
        assert call.method == expecting
        call.answer(answer)
        self.inbox.deliver(0)

    def come_up(self, pid: int = 1) -> None:
        self.reply(("n", pid), expecting="ping")
        self.reply(ActorFacts(node="n", pid=pid, device="d"), expecting="load")

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.pool.tend()


def test_an_actor_is_ready_when_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=1)
    assert (bench.pool.ready(), bench.pool.num_coming) == ([], 1)
    bench.reply(("n", 41), expecting="ping")
    assert (bench.pool.ready(), bench.joined) == ([], [])
    bench.reply(ActorFacts(node="n", pid=41, device="d"), expecting="load")
    assert (bench.pool.ready(), bench.pool.num_coming) == (["actor-0"], 0)
    assert bench.joined == ["actor-0"]
    assert bench.pool.is_ready("actor-0")
    assert bench.pool.handle("actor-0") is bench.made[0]
    assert bench.pool.node("actor-0") == "n"


def test_actors_start_in_waves(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=MAX_COMING + 5)
    assert len(bench.made) == MAX_COMING
    bench.come_up()
    bench.later(0.1)
    assert len(bench.made) == MAX_COMING + 1


def fail_to_load(bench: Bench, error: Exception) -> None:
    """The actor that was made first is reached, and cannot be loaded."""
    bench.reply(("n", 1), expecting="ping")
    bench.reply(error, expecting="load")
    bench.later(FAULT_PAUSE_SECONDS + 1)


TORN = task_error(ValueError("the weights are torn"))


def test_an_engine_that_nobody_can_load_ends_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=1)
    for _ in range(MAX_FAULTS):
        assert bench.pool.failure is None
        fail_to_load(bench, TORN)
    assert bench.pool.failure == "ValueError: the weights are torn"


def test_a_load_that_failed_is_tried_again_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=1)
    bench.reply(("n", 1), expecting="ping")
    bench.reply(TORN, expecting="load")
    bench.later(FAULT_PAUSE_SECONDS - 1)
    assert (bench.calls, bench.pool.num_coming) == ([], 1)
    bench.later(1.0)
    bench.come_up()
    assert (bench.pool.ready(), bench.pool.complaints, bench.ray.killed) == (["actor-0"], [], [])


def test_passing_faults_do_not_shrink_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=2)
    bench.come_up()
    for wave in range(1, 4):
        for _ in range(MAX_FAULTS):
            assert len(bench.made) == wave + 1
            fail_to_load(bench, TORN)
        assert bench.pool.complaints == ["ValueError: the weights are torn"] * wave
        assert bench.ray.killed[-1] == (bench.made[wave], True), "perhaps its machine is bad"
        assert len(bench.ray.killed) == wave
    bench.come_up()
    assert bench.pool.ready() == ["actor-0", "actor-4"]
    assert bench.pool.failure is None


def test_faults_with_work_in_between_are_not_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=1)
    for life in range(1, 4):
        for _ in range(MAX_FAULTS - 1):
            fail_to_load(bench, TORN)
        bench.come_up(pid=10 * life)
        bench.pool.recover("actor-0")
        bench.later(2.0)
    assert (len(bench.made), bench.pool.complaints) == (1, [])


def test_many_that_stumble_over_one_stone_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=4)
    for call in bench.calls:
        bench.now += 0.1
        call.answer(("n", 1))
        bench.inbox.deliver(0)
    loads = [call for call in bench.calls if call.method == "load"]
    for call in loads:
        bench.now += 0.1
        call.answer(TORN)
        bench.inbox.deliver(0)
    assert (len(loads), bench.pool.failure) == (4, None)
    bench.later(FAULT_PAUSE_SECONDS + 1)
    for _ in range(4):
        bench.come_up()
    assert len(bench.pool.ready()) == 4


def test_faults_of_different_kinds_are_bad_luck(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=1)
    for number in range(2 * MAX_FAULTS):
        fail_to_load(bench, task_error(OSError(f"fault {number}")))
    assert (len(bench.made), bench.pool.failure) == (3, None)
    bench.come_up()
    assert bench.pool.ready() == ["actor-2"]


def test_actors_that_are_never_made(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=1)
    cause = task_error(ModuleNotFoundError("no pipeline"))
    for number in range(1, MAX_FAULTS + 1):
        assert (bench.pool.failure, len(bench.made)) == (None, number)
        bench.reply(ActorDiedError(cause), expecting="ping")
        bench.later(FAULT_PAUSE_SECONDS - 1)
        assert len(bench.made) == number, "the next is made after a pause"
        bench.later(1.0)
    assert bench.pool.failure == "ModuleNotFoundError: no pipeline"


def test_deaths_while_loading_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=1)
    for _ in range(MAX_FAULTS):
        assert bench.pool.failure is None
        fail_to_load(bench, unavailable())
    assert bench.pool.failure is not None
    assert bench.pool.failure.startswith("it died while loading: ")


def test_a_lost_actor_is_loaded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=1)
    bench.come_up(pid=1)
    bench.pool.recover("actor-0")
    assert (bench.pool.ready(), bench.pool.num_coming, bench.calls) == ([], 1, [])
    assert bench.pool.is_awaited("actor-0")
    bench.later(2.0)
    bench.reply(unavailable(), expecting="ping")
    assert bench.calls == [], "it is given a moment"
    bench.later(2.0)
    bench.reply(("n", 2), expecting="ping")
    assert not bench.pool.is_awaited("actor-0")
    bench.reply(ActorFacts(node="n", pid=2, device="d"), expecting="load")
    assert bench.pool.ready() == ["actor-0"]
    assert bench.ray.killed == []
    assert len(bench.made) == 1


def test_an_actor_that_only_seemed_dead_is_started_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=1)
    bench.come_up(pid=1)
    bench.pool.recover("actor-0")
    bench.later(2.0)
    bench.reply(("n", 1), expecting="ping")
    assert bench.ray.killed == [(bench.made[0], False)]
    bench.later(2.0)
    bench.come_up(pid=2)
    assert bench.pool.ready() == ["actor-0"]


def test_a_restarted_actor_comes_back_under_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=1)
    bench.come_up(pid=1)
    bench.pool.restart("actor-0")
    assert bench.ray.killed == [(bench.made[0], False)]
    assert bench.pool.ready() == []
    bench.later(2.0)
    bench.come_up(pid=2)
    assert bench.joined == ["actor-0", "actor-0"]


def test_an_answer_from_before_a_restart_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=1)
    stale = bench.calls[0]
    bench.pool.recover("actor-0")
    stale.answer(("n", 1))
    bench.inbox.deliver(0)
    assert bench.pool.is_awaited("actor-0")
    bench.later(2.0)
    bench.come_up(pid=2)
    assert bench.pool.ready() == ["actor-0"]


def test_an_actor_that_leaves_is_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=1)
    bench.come_up()
    bench.pool.part("actor-0")
    assert (bench.pool.ready(), bench.pool.num_coming) == ([], 0)
    bench.later(1.0)
    assert len(bench.made) == 1, "its place is taken when it is gone"
    bench.pool.replace("actor-0")
    assert bench.ray.killed == [(bench.made[0], True)]
    bench.later(1.0)
    bench.come_up()
    assert bench.pool.ready() == ["actor-1"]


def test_where_nobody_works_silence_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=2)
    bench.later(99.0)
    assert bench.pool.num_coming == 2
    bench.later(2.0)
    assert bench.pool.failure == "none has been ready for 100 s"


def test_while_others_work_a_machine_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=2)
    bench.come_up()
    for wave in range(2, 5):
        bench.later(101.0)
        assert bench.pool.complaints == []
        bench.later(1.0)
        assert (len(bench.made), bench.pool.num_coming) == (wave + 1, 1)
    assert bench.pool.ready() == ["actor-0"], "an idle actor is not silent"


def test_retired_actors_are_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=3)
    bench.come_up()
    bench.pool.retire_coming()
    bench.later(1.0)
    assert (len(bench.made), bench.pool.ready(), bench.pool.num_coming) == (3, ["actor-0"], 0)
    bench.pool.close()
    bench.later(1000.0)
    assert (len(bench.made), bench.pool.failure) == (3, None)
    assert {handle for handle, _ in bench.ray.killed} == set(bench.made)


def test_the_same_process_number_on_another_machine_is_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch, size=1)
    bench.come_up(pid=1)
    bench.pool.recover("actor-0")
    bench.later(2.0)
    bench.reply(("another", 1), expecting="ping")
    assert bench.ray.killed == []
    bench.reply(ActorFacts(node="another", pid=1, device="d"), expecting="load")
    assert bench.pool.node("actor-0") == "another"


def test_loading_has_time_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=2)
    bench.come_up()
    bench.later(99.0)
    bench.reply(("n", 2), expecting="ping")
    bench.later(99.0)
    assert len(bench.made) == 2
    bench.reply(ActorFacts(node="n", pid=2, device="d"), expecting="load")
    assert bench.pool.ready() == ["actor-0", "actor-1"]


def test_who_is_awaited_has_its_time_after_a_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=2)
    bench.come_up()
    bench.now += 500.0
    bench.pool.excuse(500.0)
    bench.later(99.0)
    assert (bench.ray.killed, bench.pool.num_coming) == ([], 1)
    bench.later(2.0)
    assert bench.ray.killed == [(bench.made[1], True)]


def test_a_silence_in_which_nobody_listened_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch, size=1)
    bench.now += 500.0
    bench.pool.excuse(500.0)
    bench.later(99.0)
    assert (bench.pool.failure, len(bench.made)) == (None, 1)
    bench.later(2.0)
    assert bench.pool.failure == "none has been ready for 100 s"
