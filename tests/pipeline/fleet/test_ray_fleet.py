"""What a fleet says of actors whose answers, machines and time the test has in hand."""

from collections.abc import Sequence

import pytest
from ray.exceptions import ActorDiedError

from pipeline.actor import ActorFacts, NotLoaded
from pipeline.errors import RunError
from pipeline.fleet import pool as pool_module
from pipeline.fleet.fleet import Event, Glimpsed, Joined, Lost, Parted, Said, Settled
from pipeline.fleet.pool import MAX_FAULTS
from pipeline.fleet.ray_fleet import RayFleet
from pipeline.records import Attempt, Glance, Outcome
from tests.pipeline.fake_ray import FakeRay, Handle, task_error, unavailable
from tests.pipeline.sample_assets import sample_task

HANG_SECONDS = 100.0


class Bench:
    """A fleet of a test with its clock; all machines are alive until the test says otherwise."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, size: int = 1, *, is_up: bool = True
    ) -> None:
        self.ray = FakeRay()
        monkeypatch.setattr(pool_module, "ray", self.ray)
        self.now = 1000.0
        self.gone: set[str] = set()
        self.going: set[str] = set()
        self.made: list[Handle] = []
        self.fleet = RayFleet(
            self._make, self, size=size, hang_seconds=HANG_SECONDS, clock=lambda: self.now
        )
        self.events()
        while is_up and self.fleet.num_coming:
            for k, handle in enumerate(self.made):
                for call in handle.ping.open:
                    call.answer((f"node-{k}", k))
                for call in handle.load.open:
                    call.answer(ActorFacts(node=f"node-{k}", pid=k, device="d"))
            self.events()

    def alive(self) -> set[str]:
        return {f"node-{k}" for k in range(len(self.made))} - self.gone

    def draining(self) -> set[str]:
        return self.going

    def _make(self) -> Handle:
        self.made.append(Handle())
        return self.made[-1]

    def events(self) -> Sequence[Event]:
        """What happens in two seconds: the answers given before are heard, and looked after."""
        events: list[Event] = []
        for _ in range(2):
            self.now += 1.0
            events += self.fleet.events(0)
        return events

    def wait(self, seconds: float) -> Sequence[Event]:
        """What happens in so much time."""
        end, events = self.now + seconds, list[Event]()
        while self.now < end:
            events += self.events()
        return events

    def come_up(self, k: int, *, pid: int) -> Sequence[Event]:
        """Answers as a process that has just started on the machine of the same number."""
        self.made[k].ping.open[0].answer((f"node-{k}", pid))
        events = self.events()
        self.made[k].load.open[0].answer(ActorFacts(node=f"node-{k}", pid=pid, device="d"))
        return [*events, *self.events()]

    def send(self, number: int, actor: int = 0) -> Attempt:
        attempt = Attempt(
            task=sample_task(number), attempt_id=f"attempt-{number}", number=1, seed=1
        )
        self.fleet.send(f"actor-{actor}", attempt)
        return attempt

    def glance(self, actor: int, glance: Glance) -> Sequence[Event]:
        """Waits until the actor is asked how far it is, and answers."""
        while not self.made[actor].progress.open:
            assert self.events() == []
        self.made[actor].progress.open[0].answer(glance)
        return self.events()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def committed(attempt: Attempt) -> Outcome:
    return Outcome(
        asset_id=attempt.task.asset_id, attempt_id=attempt.attempt_id, status="committed"
    )


def preempted(attempt: Attempt) -> Outcome:
    return Outcome(
        asset_id=attempt.task.asset_id,
        attempt_id=attempt.attempt_id,
        status="failed",
        error_kind="preempted",
    )


def kinds(events: Sequence[Event]) -> list[type]:
    return [type(event) for event in events]


def lost(events: Sequence[Event]) -> Lost:
    (loss,) = (event for event in events if isinstance(event, Lost))
    return loss


def test_an_actor_joins_and_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, is_up=False)
    assert bench.fleet.num_coming == 1
    assert bench.come_up(0, pid=1) == [Joined(actor="actor-0")]
    assert bench.fleet.num_coming == 0
    attempt = bench.send(1)
    (call,) = bench.made[0].optimize.open
    assert call.arguments == (attempt,)
    assert bench.events() == []
    call.answer(committed(attempt))
    expected = Settled(actor="actor-0", attempt=attempt, outcome=committed(attempt))
    assert bench.events() == [expected]


def test_what_ray_refuses_an_actor_is_no_fault_of_the_prompt(bench: Bench) -> None:
    bench.send(1)
    bench.made[0].optimize.open[0].answer(task_error(unavailable()))
    (event,) = bench.events()
    assert isinstance(event, Settled)
    assert event.outcome.error_kind == "preempted"


def test_a_call_that_raises_is_an_internal_failure(bench: Bench) -> None:
    attempt = bench.send(1)
    assert bench.wait(6.0) == []
    bench.made[0].optimize.open[0].answer(task_error(ValueError("no\nsuch thing")))
    (event,) = bench.events()
    assert isinstance(event, Settled)
    assert (event.outcome.status, event.outcome.error_kind) == ("failed", "internal")
    assert event.outcome.attempt_id == attempt.attempt_id
    assert event.outcome.message == "such thing"
    assert event.outcome.gpu_seconds == 0.0, "it was never seen on the device"


def test_a_process_that_died_is_known_when_another_answers(bench: Bench) -> None:
    attempts = [bench.send(k) for k in range(3)]
    calls = bench.made[0].optimize.open
    calls[1].answer(committed(attempts[1]))
    calls[0].answer(unavailable())
    events = bench.events()
    assert sorted(map(str, kinds(events))) == sorted(map(str, [Settled, Parted]))
    assert bench.events() == [], "the third order may have been answered"
    calls[2].answer(unavailable())
    assert bench.events() == []
    bench.made[0].ping.open[0].answer(("node-0", 77))
    events = bench.events()
    assert kinds(events) == [Lost]
    assert (lost(events).cause, lost(events).actor) == ("process", "actor-0")
    bench.made[0].load.open[0].answer(ActorFacts(node="node-0", pid=77, device="d"))
    assert bench.events() == [Joined(actor="actor-0")]


def test_an_order_that_a_new_process_got_is_not_charged(bench: Bench) -> None:
    """Its actor had died idle; the order never began."""
    attempt = bench.send(1)
    bench.made[0].optimize.open[0].answer(task_error(NotLoaded()))
    settled, parted = bench.events()
    assert isinstance(settled, Settled)
    assert (settled.attempt, settled.outcome.error_kind) == (attempt, "preempted")
    assert settled.outcome.gpu_seconds == 0.0
    assert parted == Parted(actor="actor-0")
    bench.events()
    assert kinds(bench.come_up(0, pid=9)) == [Lost, Joined]


def test_a_machine_that_is_gone_is_nobodys_fault(bench: Bench) -> None:
    bench.send(1)
    bench.made[0].optimize.open[0].answer(unavailable())
    assert bench.events() == [Parted(actor="actor-0")]
    assert bench.events() == [], "nobody knows yet"
    bench.gone.add("node-0")
    events = bench.events()
    assert (lost(events).cause, lost(events).message) == ("node", "its machine went away")
    assert bench.fleet.num_coming == 1, "Ray starts it on another machine"


def test_the_verdict_comes_before_the_actor_is_back(bench: Bench) -> None:
    """The machine is found dead only after the actor runs on another one."""
    bench.send(1)
    bench.made[0].optimize.open[0].answer(unavailable())
    assert bench.events() == [Parted(actor="actor-0")]
    bench.now += 1.0
    while not bench.made[0].ping.open:
        assert bench.events() == []
    bench.gone.add("node-0")
    bench.made[0].ping.open[0].answer(("another", 5))
    bench.fleet._inbox.deliver(0)
    bench.made[0].load.open[0].answer(ActorFacts(node="another", pid=5, device="d"))
    events = bench.events()
    assert kinds(events) == [Lost, Joined]
    assert lost(events).cause == "node"


def test_an_idle_actor_that_dies_is_noticed(bench: Bench) -> None:
    while not bench.made[0].progress.open:
        bench.events()
    bench.made[0].progress.open[0].answer(unavailable())
    assert bench.events() == [Parted(actor="actor-0")]
    bench.events()
    assert kinds(bench.come_up(0, pid=9)) == [Lost, Joined]


def test_actors_say_how_far_they_are(bench: Bench) -> None:
    glance = Glance(fractions={"a": 0.5}, steps_per_second=3.0)
    assert bench.glance(0, glance) == [Glimpsed(actor="actor-0", glance=glance)]
    assert bench.glance(0, glance) == [Glimpsed(actor="actor-0", glance=glance)]
    assert len([call for call in bench.made[0].progress.calls if call.answered.done()]) == 2


def test_a_thousand_actors_are_asked_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=120)

    def asked() -> int:
        return sum(len(handle.progress.calls) for handle in bench.made)

    before, began = asked(), bench.now
    while bench.now - began < 60:
        bench.events()
        for handle in bench.made:
            for call in handle.progress.open:
                call.answer(Glance())
    assert 15 * 60 <= asked() - before <= 20 * 60 + 120
    assert {len(handle.progress.open) for handle in bench.made} == {0}


@pytest.mark.parametrize("is_silent", [True, False])
def test_an_actor_that_hangs_is_ended(bench: Bench, is_silent: bool) -> None:
    bench.send(1)
    if is_silent:
        while not bench.made[0].progress.open:
            assert bench.events() == []
        asked = bench.now
        while not (events := bench.events()):
            assert bench.now - asked < HANG_SECONDS + 10
        assert bench.now - asked > HANG_SECONDS
    else:
        assert kinds(bench.glance(0, Glance(stuck_seconds=HANG_SECONDS - 1))) == [Glimpsed]
        events = bench.glance(0, Glance(stuck_seconds=HANG_SECONDS + 1))
    assert lost(events).cause == "hung"
    assert bench.ray.killed == [(bench.made[0], False)]
    bench.made[0].optimize.open[0].answer(unavailable())
    assert bench.wait(5.0) == [], "its order was lost once"
    assert kinds(bench.come_up(0, pid=9)) == [Joined]


def test_actors_on_a_machine_that_drains_leave_and_are_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch, size=2)
    attempt, other = bench.send(1, actor=0), bench.send(2, actor=1)
    bench.going.add("node-0")
    events = bench.events()
    assert kinds(events) == [Said, Parted]
    assert events[1] == Parted(actor="actor-0")
    assert len(bench.made[0].leave.open) == 1
    assert bench.made[1].leave.calls == []
    bench.made[0].optimize.open[0].answer(preempted(attempt))
    bench.made[0].leave.open[0].answer(None)
    assert bench.events() == [Settled(actor="actor-0", attempt=attempt, outcome=preempted(attempt))]
    bench.events()
    assert bench.ray.killed == [(bench.made[0], True)]
    assert len(bench.made) == 3
    assert kinds(bench.come_up(2, pid=9)) == [Joined]
    bench.made[1].optimize.open[0].answer(committed(other))
    assert kinds(bench.events()) == [Settled]


def test_an_actor_at_fault_leaves_and_another_takes_its_place(bench: Bench) -> None:
    attempt = bench.send(1)
    bench.fleet.replace("actor-0")
    bench.fleet.replace("actor-0")
    assert kinds(bench.events()) == [Parted]
    assert len(bench.made[0].leave.open) == 1
    bench.made[0].optimize.open[0].answer(preempted(attempt))
    assert kinds(bench.events()) == [Settled]
    bench.events()
    assert bench.ray.killed == [(bench.made[0], True)]
    assert len(bench.made) == 2
    bench.fleet.replace("actor-0")


@pytest.mark.parametrize("is_killed", [True, False])
def test_an_actor_that_does_not_manage_to_leave(bench: Bench, is_killed: bool) -> None:
    bench.send(1)
    bench.going.add("node-0")
    bench.events()
    if is_killed:
        bench.made[0].optimize.open[0].answer(unavailable())
        bench.events()
        events = bench.events()
    else:
        assert bench.events() == []
        events = bench.wait(30.0)
    assert lost(events).cause == "node" if events else is_killed
    assert bench.ray.killed == [(bench.made[0], True)]
    bench.events()
    assert bench.fleet.num_coming == 1


def test_all_are_asked_to_leave_and_nobody_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=2)
    attempt = bench.send(1, actor=0)
    bench.fleet.leave()
    assert [len(handle.leave.open) for handle in bench.made] == [1, 1]
    assert [event for event in bench.events() if isinstance(event, Parted)] == [
        Parted(actor="actor-0"),
        Parted(actor="actor-1"),
    ]
    bench.made[0].optimize.open[0].answer(preempted(attempt))
    assert kinds(bench.events()) == [Settled]
    for _ in range(5):
        bench.events()
    assert len(bench.made) == 2
    assert {handle for handle, _ in bench.ray.killed} == set(bench.made)


def test_released_actors_are_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, size=2)
    bench.fleet.release("actor-0")
    bench.fleet.release_coming()
    for _ in range(5):
        assert Joined(actor="actor-0") not in bench.events()
    assert len(bench.made) == 2
    bench.fleet.close()
    assert {handle for handle, _ in bench.ray.killed} == set(bench.made)


def test_an_engine_that_cannot_be_loaded_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, is_up=False)

    def fail() -> None:
        while not bench.made[0].ping.open:
            assert bench.events() == []
        bench.made[0].ping.open[0].answer(("node-0", 1))
        bench.events()
        bench.made[0].load.open[0].answer(task_error(ValueError("the weights are torn")))

    for _ in range(MAX_FAULTS):
        assert bench.events() == []
        fail()
    with pytest.raises(RunError, match="no actor can work: ValueError: the weights are torn"):
        bench.events()


def test_an_actor_that_is_replaced_is_spoken_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, is_up=False)
    bench.made[0].ping.open[0].answer(ActorDiedError(task_error(ValueError("torn"))))
    assert bench.events() == [Said(text="an actor was replaced: ValueError: torn")]
    assert bench.wait(10.0) == []
    assert len(bench.made) == 2


STALL_SECONDS = 3 * HANG_SECONDS


def stall(bench: Bench) -> Sequence[Event]:
    """The driver's loop stands still, for instance in a write to a store that is down."""
    bench.now += STALL_SECONDS
    return bench.events()


def test_after_a_stall_all_are_heard_before_any_is_judged(bench: Bench) -> None:
    attempt = bench.send(1)
    while not bench.made[0].progress.open:
        assert bench.events() == []
    bench.made[0].progress.open[0].answer(Glance())
    bench.made[0].optimize.open[0].answer(committed(attempt))
    assert sorted(map(str, kinds(stall(bench)))) == sorted(map(str, [Glimpsed, Settled]))
    assert bench.ray.killed == []


def test_a_stall_counts_for_nobodys_silence(bench: Bench) -> None:
    bench.send(1)
    while not bench.made[0].progress.open:
        assert bench.events() == []
    asked = bench.now
    assert stall(bench) == []
    while not (events := bench.events()):
        assert bench.now - asked < STALL_SECONDS + HANG_SECONDS + 10
    assert lost(events).cause == "hung"
    assert bench.now - asked > STALL_SECONDS + HANG_SECONDS


def test_an_answer_behind_a_stall_still_counts(bench: Bench) -> None:
    """What the actor answered before it died may be on its way."""
    attempts = [bench.send(k) for k in range(2)]
    calls = bench.made[0].optimize.open
    calls[0].answer(unavailable())
    assert bench.events() == [Parted(actor="actor-0")]
    bench.gone.add("node-0")
    assert stall(bench) == []
    calls[1].answer(committed(attempts[1]))
    assert kinds(bench.wait(4.0)) == [Settled, Lost]


def test_who_leaves_has_its_time_after_a_stall(bench: Bench) -> None:
    attempt = bench.send(1)
    bench.going.add("node-0")
    bench.events()
    assert stall(bench) == []
    bench.made[0].optimize.open[0].answer(preempted(attempt))
    assert kinds(bench.wait(4.0)) == [Settled]


def test_a_lost_actor_wasted_what_no_checkpoint_keeps(bench: Bench) -> None:
    attempts = [bench.send(k) for k in range(4)]
    ids = [attempt.task.asset_id for attempt in attempts]
    calls = bench.made[0].optimize.open
    bench.wait(50.0)
    for call in bench.made[0].progress.open:
        call.answer(Glance())
    bench.wait(2.0)
    seconds = {ids[0]: 20.0, ids[1]: 5.0, ids[2]: 7.0, ids[3]: 0.0}
    bench.glance(0, Glance(unsaved_seconds=seconds))
    heard = bench.now - 1.0
    calls[2].answer(committed(attempts[2]))
    assert kinds(bench.wait(8.0)) == [Settled]
    for call in (calls[0], calls[1], calls[3]):
        call.answer(unavailable())
    bench.events()
    silent = bench.now - 1.0
    bench.wait(10.0)
    bench.gone.add("node-0")
    each = (silent - heard) / 3
    assert each == pytest.approx(9.0 / 3, abs=1.0)
    wasted = lost(bench.wait(2.0)).gpu_seconds
    assert wasted == pytest.approx({ids[0]: 20.0 + each, ids[1]: 5.0 + each})


def test_what_waited_for_an_actor_that_is_lost_was_not_wasted(bench: Bench) -> None:
    bench.send(1)
    bench.wait(100.0 - 10.0)
    bench.made[0].optimize.open[0].answer(unavailable())
    bench.gone.add("node-0")
    assert lost(bench.wait(2.0) or bench.wait(2.0)).gpu_seconds == {}


def test_an_actor_that_comes_back_at_once_is_asked_no_oftener(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch, size=400)
    bench.wait(4.0)
    for number in range(3):
        bench.send(number)
        bench.made[0].optimize.open[0].answer(unavailable())
        bench.events()
        assert Joined(actor="actor-0") in bench.come_up(0, pid=1000 + number)
    assert len(bench.fleet._glances) > 400, "it was back before it was to be asked"
    bench.wait(24.0)
    assert len(bench.fleet._glances) == 400


def test_an_answer_that_has_arrived_is_heard_before_the_verdict(bench: Bench) -> None:
    while not bench.made[0].progress.open:
        assert bench.events() == []
    assert bench.wait(HANG_SECONDS - 2.0) == []
    bench.made[0].progress.open[0].answer(Glance())
    bench.now += 4.0
    assert kinds(bench.fleet.events(0)) == [Glimpsed]
