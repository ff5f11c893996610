"""The threads of an actor: one advances the gang, some publish what it finishes, some write
checkpoints.

    submit ─▶ waiting ─▶ gang thread: admit, step, take, save ─▶ publishing threads ─▶ Outcome

A scene that waits to be published counts as one that its actor has: the driver sends no more than
the slots and a few (`run.schedule`), so that a gang which is faster than its exports is left with
empty slots, and not with a heap of finished scenes.
An exception of one scene fails that scene. An exception of the gang fails all that are in it, as
suspects if there are several, and the gang is built anew; if even that fails the process ends, and
Ray starts another. A gang that runs out of memory, or cannot be built for want of it, is rebuilt
with half its slots, for good: a gang computes all its slots, busy or not. Beside exports, these are
made fewer first. An attempt that is to run alone, or frugally, gets a gang of one slot meanwhile.
This file knows no ray.
"""

import gc
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from pipeline import retry
from pipeline.actors.assignments import Assignment, Assignments
from pipeline.actors.checkpointing import Checkpointing
from pipeline.actors.engine_port import Engine, Gang
from pipeline.actors.publisher import Publisher, StageError, described
from pipeline.records import Attempt, Glance, Outcome

Observe = Callable[[str, float], None]
"""Takes the name of a stage, or of a part of a step, and its seconds."""

_LOG = logging.getLogger(__name__)
_IDLE_SECONDS = 1.0
_ANSWERING_SECONDS = 1.0


@dataclass(frozen=True)
class _Shape:
    """What a gang is built with."""

    num_slots: int
    is_frugal: bool = False


def _end_process() -> None:
    # What was answered last is still on its way.
    time.sleep(_ANSWERING_SECONDS)
    os._exit(70)


class Worker:
    """Invariant: an accepted attempt is waiting, resident or being published, and its future is
    resolved once, with an Outcome, unless the worker is stopped first."""

    def __init__(
        self,
        engine: Engine,
        publisher: Publisher,
        checkpointing: Checkpointing,
        *,
        observe: Observe = lambda stage, seconds: None,
        observe_part: Observe = lambda part, seconds: None,
        on_broken: Callable[[], None] = _end_process,
    ) -> None:
        """As many scenes are published at a time as the publisher exports. Raises MemoryError where
        the device has no room for one scene."""
        self._engine = engine
        self._publisher = publisher
        self._checkpointing = checkpointing
        self._observe = observe
        self._observe_part = observe_part
        self._on_broken = on_broken
        self._num_slots = engine.num_slots
        self._shape = _Shape(self._num_slots)
        self._gang: Gang = self._new_gang()
        self._assignments = Assignments()
        self._waiting: deque[Assignment] = deque()
        self._residents: dict[str, Assignment] = {}
        self._wake = threading.Condition()
        self._is_stopping = False
        self._leaves_until: float | None = None
        self._fractions: dict[str, float] = {}
        self._num_steps = 0
        """Of scenes: a step of the gang counts once for each of its residents."""
        self._last_glance = (time.monotonic(), 0)
        self._last_move = time.monotonic()
        self._publishing = ThreadPoolExecutor(publisher.num_exports, thread_name_prefix="publish")
        self._thread = threading.Thread(target=self._run, name="gang", daemon=True)
        self._thread.start()

    def submit(
        self, attempt: Attempt, text: bytes | None = None, checkpoint: bytes | None = None
    ) -> "Future[Outcome]":
        """Accepts an attempt, with its embedded texts where the engine does not embed them itself
        and the checkpoint to go on from if there is one; the future gets its Outcome when all is
        over."""
        assignment = Assignment(attempt=attempt, text=text, checkpoint=checkpoint)
        with self._wake:
            if not len(self._assignments):
                self._last_move = time.monotonic()
            self._assignments.put(assignment)
            is_leaving = self._leaves_until is not None
            if not is_leaving:
                self._waiting.append(assignment)
                self._wake.notify()
        if is_leaving:
            self._preempt(assignment)
        return assignment.future

    def glance(self) -> Glance:
        """Parts done, the rate of scene steps since the last glance, for how long nothing moved,
        and what would be lost with the process."""
        (then, before), now = self._last_glance, (time.monotonic(), self._num_steps)
        self._last_glance = now
        assignments = self._assignments.open()
        return Glance(
            fractions={
                **{assignment.key: 1.0 for assignment in assignments if assignment.is_publishing},
                **self._fractions,
            },
            steps_per_second=(now[1] - before) / max(now[0] - then, 1e-9),
            stuck_seconds=max(now[0] - self._last_move, 0.0) if len(self._assignments) else 0.0,
            unsaved_seconds={
                assignment.key: assignment.unsaved_seconds for assignment in assignments
            },
        )

    def leave(self, deadline_seconds: float) -> None:
        """Saves what can be saved, answers the rest as preempted, finishes what is being published.

        Returns when all is answered, at the latest after `deadline_seconds`: what is then still
        being published, or stuck in a step, goes on for as long as the process lives. An attempt
        that is submitted from now on is preempted at once.
        """
        deadline = time.monotonic() + deadline_seconds
        with self._wake:
            self._leaves_until = deadline
            self._wake.notify()
        wait(
            [assignment.future for assignment in self._assignments.open()], timeout=deadline_seconds
        )
        for assignment in self._assignments.open():
            if not assignment.is_publishing:
                self._preempt(assignment)

    def stop(self) -> None:
        """Ends all threads after the current step; what is not published stays unresolved."""
        with self._wake:
            self._is_stopping = True
            self._wake.notify()
        self._thread.join()
        self._publishing.shutdown(wait=True, cancel_futures=True)
        self._checkpointing.close()

    def _run(self) -> None:
        while self._wait_for_work():
            if self._has_wrong_shape():
                self._rebuild()
            failures = self._advance()
            if failures is not None:
                self._rebuild(failures)
            elif (assignment := self._checkpointing.due(self._residents.values())) is not None:
                self._checkpointing.save(self._gang, assignment)
            self._last_move = time.monotonic()
        if not self._is_stopping:
            self._depart()

    def _wait_for_work(self) -> bool:
        with self._wake:
            while not (self._is_ending() or self._waiting or self._residents):
                self._wake.wait(_IDLE_SECONDS)
            return not self._is_ending()

    def _is_ending(self) -> bool:
        return self._is_stopping or self._leaves_until is not None

    def _depart(self) -> None:
        """Preempts all that the gang and its queue hold, each as soon as it is saved."""
        self._preempt_waiting()
        for assignment in self._residents.values():
            assert self._leaves_until is not None
            is_late = time.monotonic() >= self._leaves_until
            written = None if is_late else self._checkpointing.save(self._gang, assignment)
            if written is None:
                self._preempt(assignment)
            else:
                written.add_done_callback(
                    lambda _, assignment=assignment: self._preempt(assignment)
                )

    def _preempt_waiting(self) -> None:
        while self._waiting:
            self._preempt(self._waiting.popleft())

    def _preempt(self, assignment: Assignment) -> None:
        self._assignments.answer(
            assignment, assignment.failure("preempted", "its actor had to leave")
        )

    def _shape_for(self, attempt: Attempt) -> _Shape:
        is_single = attempt.alone or attempt.is_frugal
        return _Shape(1 if is_single else self._num_slots, attempt.is_frugal)

    def _has_wrong_shape(self) -> bool:
        """Whether the next attempt needs another gang and this one is empty."""
        return bool(
            self._waiting
            and not self._residents
            and self._shape_for(self._waiting[0].attempt) != self._shape
        )

    def _rebuild(self, failures: "Sequence[tuple[Assignment, Outcome]]" = ()) -> None:
        """Puts an empty gang in the place of the old one, whose memory goes first; then answers
        what failed, so that whoever hears of it finds an actor that works again.

        Without a new gang the process ends, and what waits goes to another one first.
        """
        del self._gang
        gc.collect()
        waiting, broken = self._waiting, None
        self._shape = self._shape_for(waiting[0].attempt) if waiting else _Shape(self._num_slots)
        try:
            self._gang = self._new_gang()
        except Exception as error:
            broken = error
        for assignment, outcome in failures:
            self._assignments.answer(assignment, outcome)
        if broken is not None:
            _LOG.error("no new gang can be made: the process ends", exc_info=broken)
            self._preempt_waiting()
            self._on_broken()

    def _new_gang(self) -> Gang:
        """An empty gang of the wanted shape, or of as many slots as there is memory for."""
        while True:
            shape = self._shape
            try:
                return self._engine.new_gang(num_slots=shape.num_slots, is_frugal=shape.is_frugal)
            except Exception as error:
                if retry.classify(error) != "out_of_memory":
                    raise
                if shape.num_slots == 1:
                    words = f"{self._engine.device} has not the memory for one scene of this recipe"
                    raise MemoryError(f"{words}: {error}") from error
            self._shrink()

    def _shrink(self) -> None:
        """Halves the slots of this gang and all later ones."""
        self._num_slots = self._shape.num_slots // 2
        self._shape = _Shape(self._num_slots)
        _LOG.warning("for want of memory the gang has %d slots from now on", self._num_slots)

    def _advance(self) -> "list[tuple[Assignment, Outcome]] | None":
        """Admits and makes one step. If the gang broke: what all that were in it are to be told.

        The error does not leave this function: its traceback would hold on to the gang's memory.
        """
        try:
            self._admit()
            if self._residents:
                self._step()
        except Exception as error:
            return self._failures(error)
        return None

    def _admit(self) -> None:
        while (
            self._waiting
            and self._gang.num_free
            and self._shape_for(self._waiting[0].attempt) == self._shape
        ):
            assignment, start = self._waiting.popleft(), time.monotonic()
            # In the table before the gang sees it: whatever happens, somebody answers for it.
            self._residents[assignment.key] = assignment
            assignment.admitted = assignment.last_saved = start
            self._enter(assignment)
            assignment.text = assignment.checkpoint = None
            self._observe("admit", time.monotonic() - start)
            self._last_move = time.monotonic()

    def _enter(self, assignment: Assignment) -> None:
        """Gives it a slot: with its checkpoint, or from the beginning if that is of no use."""
        if assignment.checkpoint is not None:
            try:
                assignment.num_resumed_steps = self._gang.add(
                    self._request(assignment, assignment.checkpoint)
                )
            except ValueError as error:
                _LOG.warning("asset %s starts from the beginning: %s", assignment.key, error)
            else:
                assignment.seconds = assignment.kept_seconds = self._gang.seconds()[assignment.key]
                return
        self._gang.add(self._request(assignment, None))

    def _request(self, assignment: Assignment, checkpoint: bytes | None) -> Any:
        prompt = assignment.attempt.task.prompt
        return self._engine.request(
            key=assignment.key,
            prompt=prompt.prompt,
            negative_prompt=prompt.negative_prompt,
            seed=assignment.attempt.seed,
            text=assignment.text,
            checkpoint=checkpoint,
        )

    def _step(self) -> None:
        start = time.monotonic()
        self._gang.step()
        self._num_steps += len(self._residents)
        finished = self._gang.take_finished()
        self._observe("step", time.monotonic() - start)
        for parts in self._gang.part_seconds():
            for part, seconds in parts.items():
                self._observe_part(part, seconds)
        for scene in finished:
            assignment = self._residents.pop(scene.key)
            assignment.optimised, assignment.seconds, assignment.is_publishing = (
                time.monotonic(),
                scene.seconds,
                True,
            )
            self._publishing.submit(self._publish, assignment, scene)
        for key, seconds in self._gang.seconds().items():
            self._residents[key].seconds = seconds
        self._fractions = dict(self._gang.progress())

    def _failures(self, error: Exception) -> "list[tuple[Assignment, Outcome]]":
        """Empties the gang: the outcomes of a failure of the gang itself."""
        _LOG.exception("the gang failed with %d scenes in it", len(self._residents))
        assignments, self._residents, self._fractions = list(self._residents.values()), {}, {}
        kind = retry.classify(error)
        if kind == "out_of_memory" and self._publisher.leave_room():
            kind = "gang_out_of_memory"
        elif kind == "out_of_memory" and self._shape.num_slots > 1:
            kind = "gang_out_of_memory"
            self._shrink()
        elif len(assignments) > 1:
            kind = "suspect"
        return [
            (assignment, assignment.failure(kind, described(error))) for assignment in assignments
        ]

    def _publish(self, assignment: Assignment, scene: Any) -> None:
        try:
            outcome = self._outcome(assignment, scene)
        except StageError as error:
            _LOG.exception("asset %s was not published", assignment.key)
            outcome = assignment.failure(error.kind, str(error))
        except Exception as error:
            _LOG.exception("asset %s was not published", assignment.key)
            outcome = assignment.failure(retry.classify(error), described(error))
        kind = outcome.error_kind
        if kind is None or retry.policy(kind).change == "new_seed":
            self._checkpointing.remove(assignment)
        self._last_move = time.monotonic()
        self._assignments.answer(assignment, outcome)

    def _outcome(self, assignment: Assignment, scene: Any) -> Outcome:
        if scene.status != "ok":
            message = f"after {scene.iterations} steps with seed {assignment.attempt.seed}"
            return assignment.failure(scene.status, message)
        published = self._publisher.publish(assignment.attempt, scene)
        self._observe("export", published.export_seconds)
        self._observe("commit", published.commit_seconds)
        return Outcome(
            asset_id=assignment.key,
            attempt_id=assignment.attempt.attempt_id,
            status=published.result,
            gpu_seconds=scene.seconds,
            num_resumed_steps=assignment.num_resumed_steps,
            stage_seconds={
                "wait": assignment.admitted - assignment.submitted,
                "optimise": assignment.optimised - assignment.admitted,
                "export": published.export_seconds,
                "commit": published.commit_seconds,
            },
            bytes_written=published.num_bytes,
            mesh_status=published.mesh_status,
            mesh_faces=published.mesh_faces,
            opacity=published.opacity,
            losses=dict(scene.losses),
        )
