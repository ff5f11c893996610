"""The pool's states, against actors whose answers the test writes."""

from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from pipeline import pool as pool_module
from pipeline.actor import ActorFacts
from pipeline.inbox import Inbox
from pipeline.pool import MAX_COMING, MAX_LOADING_DEATHS, ActorPool
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
        self.reply(pid, expecting="ping")
        self.reply(ActorFacts(node="n", pid=pid, device="d"), expecting="load")

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.pool.tend()


def test_an_actor_is_ready_when_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=1)
    assert (bench.pool.ready(), bench.pool.num_coming) == ([], 1)
    bench.reply(41, expecting="ping")
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


def test_weights_that_cannot_be_read_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=1)
    bench.reply(1, expecting="ping")
    bench.reply(task_error(ValueError("the weights are torn")), expecting="load")
    assert bench.pool.complaints == ["ValueError: the weights are torn"]
    assert bench.pool.is_spent
    bench.later(1000)
    assert len(bench.made) == 1


def test_an_actor_that_was_never_made(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=1)
    cause = task_error(ModuleNotFoundError("no pipeline"))
    bench.reply(ActorDiedError(cause), expecting="ping")
    assert bench.pool.complaints == ["ModuleNotFoundError: no pipeline"]
    assert bench.pool.is_spent


def test_deaths_while_loading_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=1)
    for k in range(MAX_LOADING_DEATHS):
        assert not bench.pool.is_spent
        bench.reply(k, expecting="ping")
        bench.reply(unavailable(), expecting="load")
        bench.later(2.0)
    assert bench.pool.is_spent
    assert "3 times while loading" in bench.pool.complaints[0]


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
    bench.reply(2, expecting="ping")
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
    bench.reply(1, expecting="ping")
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
    stale.answer(1)
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
    assert bench.pool.complaints == ["no answer for 100 s"] * 2
    assert bench.pool.is_spent


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
    bench.later(1.0)
    assert bench.pool.is_spent
    assert {handle for handle, _ in bench.ray.killed} == set(bench.made)
