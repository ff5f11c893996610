"""Which prompt goes to which actor next, and what a failure leads to. Pure: no ray, no clock.

Every task is in exactly one place:

    waiting ──▶ running ──▶ done                      committed, by us or by somebody else
       ▲           ├──────▶ quarantined               given up, by `retry.decide`
       └───────────┤
    suspects ◀─────┘                                  will run alone: nothing else in its gang

An actor that is empty serves suspects first. While suspects wait, a few actors serve them, one for
each fifty; as long as fewer do, the least loaded get nothing new, so that they become empty. Hence
a prompt that kills its actor delays its neighbours once and then dies by itself.

What an actor may be at fault for is tried again elsewhere: not on an actor that failed it before,
and on one whose last attempt succeeded, if there is one, else on one of which nothing is known yet.
An actor that fails all it is given, and so is always the least loaded, gets only what is new.

Among the waiting, what infrastructure took away goes first, because its checkpoint waits; then
tasks never tried; then charged failures, because what caused them may have passed until then.

A task that was never tried costs nothing here: it is drawn when an actor can take it. An order and
a settlement cost the same with a thousand actors as with one.
"""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from types import MappingProxyType

from pipeline import retry
from pipeline.records import Attempt, Cause, Outcome, Task, new_attempt_id

ACTORS_FOR_A_SUSPECT = 50
"""Of so many actors one may be kept for suspects."""
_PROVEN, _NEW, _DOUBTFUL = range(3)
"""The last answer of an actor: an asset, none yet, a failure that may be its fault."""
_ALONE = frozenset({"alone", "frugal"})
"""Changes after which a task has a gang for itself."""


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A failed attempt and what follows. `kind` and `message` are of the failure."""

    attempt: Attempt
    kind: str
    message: str
    decision: retry.Decision


class Schedule:
    """The tasks of one recipe on their way through a fleet of actors.

    Actors come and go by `join` and `part`; only those that have joined are sent anything. What a
    parted actor holds is still settled or lost.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        *,
        num_tasks: int,
        num_slots: int,
        lookahead: int = 1,
        histories: Mapping[str, Sequence[str]] = MappingProxyType({}),
        resumable: Set[str] = frozenset(),
    ) -> None:
        """
        Args:
            tasks: each asset once, in the order to be made; drawn one by one.
            num_tasks: how many there are.
            num_slots: scenes of one gang.
            lookahead: tasks an actor holds beyond its slots, so that a free slot needs no word from
                the driver; as many as it exports at a time, of which no slot is to stay empty.
            histories: asset ids to the error kinds of earlier runs, so that a prompt which takes
                the whole run down is given up after as many deaths as one which takes its actor.
            resumable: asset ids that have a checkpoint.
        """
        self._tasks = iter(tasks)
        self._num_undrawn = num_tasks
        self._num_slots = num_slots
        self._most = num_slots + lookahead
        self._histories = histories
        self._resumable = resumable
        self._work: dict[str, _Work] = {}
        self._first: deque[_Work] = deque()
        self._fresh: deque[_Work] = deque()
        self._last: deque[_Work] = deque()
        self._suspects: deque[_Work] = deque()
        self._held: dict[str, dict[str, Attempt]] = {}
        self._num_running = 0
        self._joined: set[str] = set()
        self._trust: dict[str, int] = {}
        self._ranks = tuple(_Ranking(self._most) for _ in (_PROVEN, _NEW, _DOUBTFUL))
        self._alone: set[str] = set()

    @property
    def num_slots(self) -> int:
        """Scenes of one gang."""
        return self._num_slots

    @property
    def num_waiting(self) -> int:
        """Tasks that nobody has and that may share a gang."""
        return len(self._first) + len(self._fresh) + self._num_undrawn + len(self._last)

    @property
    def num_suspects(self) -> int:
        """Tasks that wait for an actor of their own."""
        return len(self._suspects)

    @property
    def num_running(self) -> int:
        """Tasks that an actor holds."""
        return self._num_running

    @property
    def is_finished(self) -> bool:
        """Whether every task is done or quarantined."""
        return not (self.num_waiting or self._suspects or self._num_running)

    def load(self, actor: str) -> int:
        """Tasks that the actor holds."""
        return len(self._held.get(actor, ()))

    def idle(self) -> list[str]:
        """Actors that have joined and hold nothing."""
        return [actor for rank in self._ranks for actor in rank.with_load(0)]

    def join(self, actor: str) -> None:
        """The actor can be sent tasks."""
        self._joined.add(actor)
        self._rank(actor)

    def part(self, actor: str) -> None:
        """The actor can be sent no more tasks until it joins again."""
        self._unrank(actor)
        self._joined.discard(actor)

    def next(self, num_coming: int = 0) -> tuple[str, Attempt] | None:
        """The next order, or None for now.

        `num_coming` counts actors that will join soon; the last tasks are shared with them.
        """
        self._draw()
        kept: Set[str] = frozenset()
        if self._suspects:
            actor = next(self._able(self._suspects[0]), None)
            if actor is not None and not self.load(actor):
                return self._send(actor, self._suspects.popleft())
            kept = self._kept()
        for queue in filter(None, (self._first, self._fresh, self._last)):
            actor = next((each for each in self._able(queue[0]) if each not in kept), None)
            if actor is not None and self.load(actor) < self._window(num_coming):
                return self._send(actor, queue.popleft())
        return None

    def settle(self, actor: str, outcome: Outcome) -> Failed | None:
        """Takes an actor's report. None: the asset is committed; else what follows."""
        self._unrank(actor)
        attempt = self._held[actor].pop(outcome.asset_id)
        self._num_running -= 1
        if outcome.status != "failed":
            self._trust[actor] = _PROVEN
        elif retry.policy(outcome.error_kind or "").elsewhere:
            self._trust[actor] = _DOUBTFUL
        self._rank(actor)
        if outcome.status != "failed":
            del self._work[outcome.asset_id]
            return None
        assert outcome.error_kind is not None, "a failed outcome names its kind"
        return self._fail(actor, attempt, outcome.error_kind, outcome.message or "")

    def lose(self, actor: str, message: str, *, cause: Cause) -> list[Failed]:
        """Takes note that an actor is gone with all that it held; it may join again later.

        The only task of an actor is charged; with company all are suspects; the loss of a whole
        machine is nobody's fault.
        """
        self.part(actor)
        held = list(self._held.pop(actor, {}).values())
        self._num_running -= len(held)
        self._trust[actor] = _NEW if cause == "node" else _DOUBTFUL
        if cause == "node":
            kind = "node_lost"
        elif len(held) > 1:
            kind = "suspect"
        else:
            kind = "hung" if cause == "hung" else "actor_died"
        return [self._fail(actor, attempt, kind, message) for attempt in held]

    def forgive(self, actor: str, asset_ids: Iterable[str]) -> None:
        """What the actor failed of these tasks was its own fault, and counts no longer."""
        for work in filter(None, map(self._work.get, asset_ids)):
            work.forgive(actor)
        cleared = [work for work in self._suspects if not work.alone]
        if cleared:
            self._suspects = deque(work for work in self._suspects if work.alone)
            self._first.extend(cleared)

    def _fail(self, actor: str, attempt: Attempt, kind: str, message: str) -> Failed:
        work = self._work[attempt.task.asset_id]
        decision = work.fail(kind, actor)
        if decision.gives_up:
            del self._work[attempt.task.asset_id]
        elif work.alone:
            self._suspects.append(work)
        else:
            (self._last if retry.policy(kind).charged else self._first).append(work)
        return Failed(attempt=attempt, kind=kind, message=message, decision=decision)

    def _draw(self) -> None:
        """Has the next new task at hand; those that must run alone are suspects from the start."""
        while self._num_undrawn and not self._fresh:
            task = next(self._tasks, None)
            assert task is not None, f"{self._num_undrawn} fewer tasks than planned"
            assert task.asset_id not in self._work, f"{task.asset_id} is planned twice"
            self._num_undrawn -= 1
            work = _revive(
                task,
                self._histories.get(task.asset_id, ()),
                may_resume=task.asset_id in self._resumable,
            )
            self._work[task.asset_id] = work
            (self._suspects if work.alone else self._fresh).append(work)

    def _send(self, actor: str, work: "_Work") -> tuple[str, Attempt]:
        self._unrank(actor)
        attempt = work.attempt()
        self._held.setdefault(actor, {})[work.task.asset_id] = attempt
        self._num_running += 1
        self._rank(actor)
        return actor, attempt

    def _rank(self, actor: str) -> None:
        """Lets an actor that has joined be chosen, by what it holds now."""
        if actor not in self._joined:
            return
        held = self._held.get(actor, {})
        rank = self._rank_of(actor)
        rank.members.add(actor)
        if any(attempt.alone for attempt in held.values()):
            self._alone.add(actor)
        else:
            rank.add(actor, len(held))

    def _unrank(self, actor: str) -> None:
        rank = self._rank_of(actor)
        rank.members.discard(actor)
        rank.discard(actor, self.load(actor))
        self._alone.discard(actor)

    def _rank_of(self, actor: str) -> "_Ranking":
        return self._ranks[self._trust.get(actor, _NEW)]

    def _able(self, work: "_Work") -> Iterator[str]:
        """Actors that may be sent a task, the least loaded first; see the head of this file."""
        if work.avoided:
            for rank in self._ranks:
                if len(rank.members) > len(rank.members & work.avoided):
                    return (actor for actor in rank.ascending() if actor not in work.avoided)
        loads = range(self._most + 1)
        return (actor for load in loads for rank in self._ranks for actor in rank.with_load(load))

    def _kept(self) -> Set[str]:
        """Actors that get nothing new, so that they become empty for the suspects."""
        most = max(1, len(self._joined) // ACTORS_FOR_A_SUSPECT) - len(self._alone)
        number = max(0, min(most, len(self._suspects)))
        return set(itertools.islice(self._able(self._suspects[0]), number))

    def _window(self, num_coming: int) -> int:
        """Tasks an actor may hold: its slots and a little more, but no more than its share."""
        num_actors = len(self._joined) + num_coming
        share = -(-(self.num_waiting + self._num_running) // num_actors)
        return min(self._most, max(share, 1))


class _Ranking:
    """Actors by load; of equals, the one that has had its load longest comes first. `members` are
    also those that serve a suspect, and so have no place among the others."""

    def __init__(self, most: int) -> None:
        self.members: set[str] = set()
        self._by_load: list[dict[str, None]] = [{} for _ in range(most + 1)]

    def add(self, actor: str, load: int) -> None:
        self._by_load[load][actor] = None

    def discard(self, actor: str, load: int) -> None:
        self._by_load[load].pop(actor, None)

    def with_load(self, load: int) -> Iterable[str]:
        return self._by_load[load]

    def ascending(self) -> Iterator[str]:
        """All, the least loaded first; the next few cost no more than a look at every load."""
        return itertools.chain.from_iterable(self._by_load)


@dataclass(kw_only=True)
class _Work:
    """The story so far of a task that was drawn and is not over."""

    task: Task
    history: list[tuple[str, str | None]]
    """The kinds of its failures, each with the actor; None for those of earlier runs."""
    avoided: set[str] = field(default_factory=set)
    """Actors that failed it, perhaps by their own fault."""
    num_reseeds: int
    alone: bool
    is_frugal: bool
    may_resume: bool
    num_attempts: int

    def attempt(self) -> Attempt:
        self.num_attempts += 1
        return Attempt(
            task=self.task,
            attempt_id=new_attempt_id(),
            number=self.num_attempts,
            seed=retry.attempt_seed(self.task.prompt.seed, self.num_reseeds),
            alone=self.alone,
            may_resume=self.may_resume,
            is_frugal=self.is_frugal,
        )

    def fail(self, kind: str, actor: str) -> retry.Decision:
        self.history.append((kind, actor))
        if retry.policy(kind).elsewhere:
            self.avoided.add(actor)
        decision = retry.decide([kind for kind, _ in self.history])
        self.num_reseeds += decision.change == "new_seed"
        self.alone |= decision.change in _ALONE
        self.is_frugal |= decision.change == "frugal"
        self.may_resume = decision.change != "new_seed"
        return decision

    def forgive(self, actor: str) -> None:
        """Forgets what the actor failed; its seed stays what it is."""
        self.history = [(kind, by) for kind, by in self.history if by != actor]
        changes = retry.changes([kind for kind, _ in self.history])
        self.alone = not _ALONE.isdisjoint(changes)
        self.is_frugal = "frugal" in changes


def _revive(task: Task, history: Sequence[str], *, may_resume: bool) -> _Work:
    changes = retry.changes(history)
    return _Work(
        task=task,
        history=[(kind, None) for kind in history],
        num_reseeds=changes.count("new_seed"),
        alone=not _ALONE.isdisjoint(changes),
        is_frugal="frugal" in changes,
        may_resume=may_resume,
        num_attempts=len(history),
    )
