"""When an actor is at fault for what fails, and not the prompts that it was given. Pure.

A broken device, a full disk, a missing library: whatever such an actor is sent fails, and at speed.
It is to be replaced when three of its attempts or gangs failed with different prompts and none
succeeded between, while another actor did make something: where everything fails everywhere, no
actor stands out. Each verdict rests on a success that came after the actor's first failure, so that
verdicts come to an end with the prompts that can be made.

A failure that gives its prompt up is the prompt's: it failed elsewhere before. It counts against no
actor and is never forgiven, so that what a run has quarantined stays so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from pipeline import retry
from pipeline.run.schedule import Failed

MOST_FAILURES = 3
"""Failures in a row after which an actor is replaced. The suspects of a full gang are one."""


Failures = Mapping[str, Sequence[str]]
"""What an actor failed: the ids of assets with those of the attempts that were charged to them."""
_NONE: Mapping[str, Failures] = MappingProxyType({})


@dataclass(kw_only=True)
class _Streak:
    """What an actor has failed since its last success. `since` is how many assets had been made
    when it began; `weight` counts in slots."""

    since: int
    attempts: dict[str, list[str]] = field(default_factory=dict)
    weight: int = 0


class Culprits:
    """What the actors of one schedule have failed since they last made something.

    Both events are answered with the actors that are to be replaced, and all that each failed.
    """

    def __init__(self, *, num_slots: int) -> None:
        self._num_slots = num_slots
        self._num_made = 0
        self._streaks: dict[str, _Streak] = {}
        self._due: set[str] = set()
        """Actors that failed enough, and wait for the success of another."""

    def made(self, actor: str) -> Mapping[str, Failures]:
        """The actor has made an asset."""
        self._num_made += 1
        self._streaks.pop(actor, None)
        self._due.discard(actor)
        due, self._due = self._due, set()
        return {culprit: self._streaks.pop(culprit).attempts for culprit in sorted(due)}

    def failed(self, actor: str, failed: Failed) -> Mapping[str, Failures]:
        """An attempt of the actor has failed."""
        rule, asset_id = retry.policy(failed.kind), failed.attempt.task.asset_id
        if not rule.elsewhere or failed.decision.gives_up:
            return _NONE
        streak = self._streaks.setdefault(actor, _Streak(since=self._num_made))
        if asset_id not in streak.attempts:
            streak.weight += self._num_slots if rule.charged else 1
        charged = streak.attempts.setdefault(asset_id, [])
        if rule.charged:
            charged.append(failed.attempt.attempt_id)
        if streak.weight < MOST_FAILURES * self._num_slots:
            return _NONE
        if streak.since == self._num_made:
            self._due.add(actor)
            return _NONE
        return {actor: self._streaks.pop(actor).attempts}
