"""The pool's states, against actors whose answers the test writes."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

from pipeline import pool as pool_module
from pipeline.actor import ActorFacts
from pipeline.pool import MAX_COMING, MAX_LOADING_DEATHS, ActorPool


@dataclass(eq=False)
class Call:
    method: str
    answer: Any = None


@dataclass(eq=False)
class Method:
    name: str

    def remote(self) -> Call:
        return Call(self.name)


@dataclass(eq=False)
class Handle:
    ping: Method = field(default_factory=lambda: Method("ping"))
    load: Method = field(default_factory=lambda: Method("load"))


class FakeRay:
    """`get` gives what the test put into a call; `kill` is written down."""

    def __init__(self) -> None:
        self.killed: list[tuple[Handle, bool]] = []

    def get(self, call: Call) -> Any:
        if isinstance(call.answer, Exception):
            raise call.answer
        return call.answer

    def kill(self, handle: Handle, *, no_restart: bool = True) -> None:
        self.killed.append((handle, no_restart))


class Bench:
    """A pool of a test, its clock, and the actors it made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
        self.ray = FakeRay()
        monkeypatch.setattr(pool_module, "ray", self.ray)
        self.now = 0.0
        self.made: list[Handle] = []
        self.pool = ActorPool(self._make, size=size, deadline_seconds=100.0, clock=lambda: self.now)
        self.pool.tend()

    def _make(self) -> Handle:
        self.made.append(Handle())
        return self.made[-1]

    def reply(self, answer: Any, *, expecting: str) -> None:
        """Answers the oldest call under way."""
        call = self.pool.calls[0]
        assert call.method == expecting
        call.answer = answer
        self.pool.answer(call)

    def come_up(self, pid: int = 1) -> None:
        self.reply(pid, expecting="ping")
        self.reply(ActorFacts(node="n", pid=pid, device="d"), expecting="load")

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.pool.tend()


def task_error(cause: Exception) -> RayTaskError:
    trace = f"Traceback (most recent call last):\n  File ...\n{type(cause).__name__}: {cause}"
    return RayTaskError("load", trace, cause)


def test_an_actor_is_ready_when_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=1)
    assert (bench.pool.ready, bench.pool.num_coming) == ([], 1)
    bench.reply(41, expecting="ping")
    assert bench.pool.ready == []
    bench.reply(ActorFacts(node="n", pid=41, device="d"), expecting="load")
    assert (bench.pool.ready, bench.pool.num_coming) == (["actor-0"], 0)
    assert bench.pool.handle("actor-0") is bench.made[0]
    facts = bench.pool.facts("actor-0")
    assert facts is not None
    assert facts.node == "n"


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
        bench.reply(ActorUnavailableError("gone", b"0" * 16), expecting="load")
        bench.later(2.0)
    assert bench.pool.is_spent
    assert "3 times while loading" in bench.pool.complaints[0]


def test_a_lost_actor_is_loaded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=1)
    bench.come_up(pid=1)
    bench.pool.recover("actor-0")
    assert (bench.pool.ready, bench.pool.calls) == ([], [])
    assert bench.pool.is_awaited("actor-0")
    bench.later(2.0)
    bench.reply(ActorUnavailableError("restarting", b"0" * 16), expecting="ping")
    assert bench.pool.calls == [], "it is given a moment"
    bench.later(2.0)
    bench.reply(2, expecting="ping")
    assert not bench.pool.is_awaited("actor-0")
    bench.reply(ActorFacts(node="n", pid=2, device="d"), expecting="load")
    assert bench.pool.ready == ["actor-0"]
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
    assert bench.pool.ready == ["actor-0"]


def test_silence_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=2)
    bench.come_up()
    bench.later(99.0)
    assert bench.pool.num_coming == 1
    bench.later(2.0)
    assert bench.pool.num_coming == 0
    assert bench.pool.ready == ["actor-0"]
    assert bench.pool.complaints == ["no answer for 100 s"]
    bench.later(1000.0)
    assert bench.pool.ready == ["actor-0"], "an idle actor is not silent"


def test_retired_actors_are_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=3)
    bench.come_up()
    bench.pool.retire_coming()
    bench.later(1.0)
    assert (len(bench.made), bench.pool.ready, bench.pool.num_coming) == (3, ["actor-0"], 0)
    bench.pool.close()
    bench.later(1.0)
    assert bench.pool.is_spent
    assert {handle for handle, _ in bench.ray.killed} == set(bench.made)
