"""Which prompt goes to which actor next, and what a failure leads to. Pure: no ray, no clock.

Every task is in exactly one place:

    waiting ──▶ running ──▶ done                      committed, by us or by somebody else
       ▲           ├──────▶ quarantined               given up, by `retry.decide`
       └───────────┤
    suspects ◀─────┘                                  will run alone: nothing else in its gang

An actor that is empty serves suspects first. While suspects wait and no actor is serving one, the
least loaded actor gets nothing new, so that it becomes empty. Hence a prompt that kills its actor
delays its neighbours once and then dies by itself.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline import retry
from pipeline.records import Outcome, Task, new_attempt_id

LOOKAHEAD = 1
"""Tasks an actor holds beyond its slots, so that a free slot needs no word from the driver."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt at one task: what an actor is sent. `number` counts from 1."""

    task: Task
    attempt_id: str
    number: int
    seed: int
    alone: bool = False


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A failed attempt and what follows. `kind` and `message` are of the failure."""

    attempt: Attempt
    kind: str
    message: str
    decision: retry.Decision


@dataclass(kw_only=True)
class _Work:
    """A task's story so far."""

    task: Task
    history: list[str] = field(default_factory=list)
    num_reseeds: int = 0
    alone: bool = False
    num_attempts: int = 0

    def attempt(self) -> Attempt:
        self.num_attempts += 1
        return Attempt(
            task=self.task,
            attempt_id=new_attempt_id(),
            number=self.num_attempts,
            seed=retry.attempt_seed(self.task.prompt.seed, self.num_reseeds),
            alone=self.alone,
        )


class Schedule:
    """The tasks of one recipe on their way through a pool of actors.

    `histories` maps asset ids to the error kinds of earlier runs, so that a prompt which takes the
    whole run down is given up after as many deaths as one which takes only its actor.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        *,
        num_slots: int,
        histories: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        histories = histories or {}
        self._num_slots = num_slots
        self._work: dict[str, _Work] = {}
        self._waiting: deque[str] = deque()
        self._suspects: deque[str] = deque()
        self._running: dict[str, dict[str, Attempt]] = {}
        for task in tasks:
            assert task.asset_id not in self._work, f"{task.asset_id} is planned twice"
            self._work[task.asset_id] = _revive(task, histories.get(task.asset_id, ()))
            self._enqueue(task.asset_id)

    @property
    def num_waiting(self) -> int:
        """Tasks that nobody has and that may share a gang."""
        return len(self._waiting)

    @property
    def num_suspects(self) -> int:
        """Tasks that wait for an actor of their own."""
        return len(self._suspects)

    @property
    def num_running(self) -> int:
        """Tasks that an actor holds."""
        return sum(len(held) for held in self._running.values())

    @property
    def is_finished(self) -> bool:
        """Whether every task is done or quarantined."""
        return not (self._waiting or self._suspects or self.num_running)

    def load(self, actor: str) -> int:
        """Tasks that the actor holds."""
        return len(self._running.get(actor, ()))

    def next(self, ready: Sequence[str], *, num_coming: int = 0) -> tuple[str, Attempt] | None:
        """The next order, or None for now.

        Args:
            ready: the actors that can be sent something.
            num_coming: actors that will be soon; the last tasks are shared with them.
        """
        if not ready:
            return None
        actors = sorted(ready, key=self.load)
        if self._suspects and not self.load(actors[0]):
            return self._send(actors[0], self._suspects.popleft())
        if self._suspects and not any(self._is_alone(actor) for actor in actors):
            actors = actors[1:]
        window = self._window(len(ready) + num_coming)
        for actor in actors:
            if self._waiting and not self._is_alone(actor) and self.load(actor) < window:
                return self._send(actor, self._waiting.popleft())
        return None

    def settle(self, actor: str, outcome: Outcome) -> Failed | None:
        """Takes an actor's report. None: the asset is committed; else what follows."""
        attempt = self._running[actor].pop(outcome.asset_id)
        if outcome.status != "failed":
            del self._work[outcome.asset_id]
            return None
        assert outcome.error_kind is not None, "a failed outcome names its kind"
        return self._fail(attempt, outcome.error_kind, outcome.message or "")

    def lose(self, actor: str, message: str, *, node_lost: bool = False) -> list[Failed]:
        """Takes note that an actor died with all that it held; it may be sent to again later.

        The only task of an actor is charged; with company all are suspects; the loss of a whole
        machine is nobody's fault.
        """
        held = list(self._running.pop(actor, {}).values())
        kind = "node_lost" if node_lost else "actor_died" if len(held) == 1 else "suspect"
        return [self._fail(attempt, kind, message) for attempt in held]

    def _fail(self, attempt: Attempt, kind: str, message: str) -> Failed:
        asset_id = attempt.task.asset_id
        work = self._work[asset_id]
        work.history.append(kind)
        decision = retry.decide(work.history)
        if decision.gives_up:
            del self._work[asset_id]
        else:
            work.num_reseeds += decision.change == "new_seed"
            work.alone |= decision.change == "alone"
            self._enqueue(asset_id)
        return Failed(attempt=attempt, kind=kind, message=message, decision=decision)

    def _enqueue(self, asset_id: str) -> None:
        (self._suspects if self._work[asset_id].alone else self._waiting).append(asset_id)

    def _send(self, actor: str, asset_id: str) -> tuple[str, Attempt]:
        attempt = self._work[asset_id].attempt()
        self._running.setdefault(actor, {})[asset_id] = attempt
        return actor, attempt

    def _is_alone(self, actor: str) -> bool:
        return any(attempt.alone for attempt in self._running.get(actor, {}).values())

    def _window(self, num_actors: int) -> int:
        """Tasks an actor may hold: its slots and a little more, but no more than its share."""
        share = -(-(len(self._waiting) + self.num_running) // num_actors)
        return min(self._num_slots + LOOKAHEAD, max(share, 1))


def _revive(task: Task, history: Sequence[str]) -> _Work:
    changes = [retry.policy(kind).change for kind in history]
    return _Work(
        task=task,
        history=list(history),
        num_reseeds=changes.count("new_seed"),
        alone="alone" in changes,
        num_attempts=len(history),
    )
