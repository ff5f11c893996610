"""The threads of an actor: one advances the gang, one publishes what it finishes, some write
checkpoints.

    submit ─▶ waiting ─▶ gang thread: admit, step, take, save ─▶ publishing thread ─▶ Outcome

An exception of one scene fails that scene. An exception of the gang fails all that are in it, as
suspects if there are several, and the gang is built anew; if even that fails the process ends, and
Ray starts another. A gang that runs out of memory is rebuilt with half its slots, for good: a gang
computes all its slots, busy or not. An attempt that is to run alone, or frugally, gets a gang of
one slot meanwhile. This file knows no ray.
"""

import gc
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from pipeline import retry
from pipeline.checkpointing import Checkpointing
from pipeline.engine_port import Engine, Gang
from pipeline.fleet import Glance
from pipeline.jobs import Job, Jobs
from pipeline.publisher import Publisher, StageError
from pipeline.records import Outcome
from pipeline.schedule import Attempt

Observe = Callable[[str, float], None]
"""Takes the name of a stage and its seconds."""

_LOG = logging.getLogger(__name__)
_IDLE_SECONDS = 1.0


@dataclass(frozen=True)
class _Shape:
    """What a gang is built with."""

    num_slots: int
    is_frugal: bool = False


def _end_process() -> None:
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
        node: str = "",
        observe: Observe = lambda stage, seconds: None,
        on_broken: Callable[[], None] = _end_process,
    ) -> None:
        self._engine = engine
        self._publisher = publisher
        self._checkpointing = checkpointing
        self._node = node
        self._observe = observe
        self._on_broken = on_broken
        self._num_slots = engine.num_slots
        self._shape = _Shape(self._num_slots)
        self._gang: Gang = self._new_gang()
        self._jobs = Jobs()
        self._waiting: deque[Job] = deque()
        self._residents: dict[str, Job] = {}
        self._wake = threading.Condition()
        self._is_stopping = False
        self._leaves_until: float | None = None
        self._fractions: dict[str, float] = {}
        self._num_steps = 0
        self._last_glance = (time.monotonic(), 0)
        self._last_move = time.monotonic()
        self._publishing = ThreadPoolExecutor(1, thread_name_prefix="publish")
        self._thread = threading.Thread(target=self._run, name="gang", daemon=True)
        self._thread.start()

    def submit(
        self, attempt: Attempt, text: bytes | None = None, checkpoint: bytes | None = None
    ) -> "Future[Outcome]":
        """Accepts an attempt, with its embedded texts where the engine does not embed them itself
        and the checkpoint to go on from if there is one; the future gets its Outcome when all is
        over."""
        job = Job(attempt=attempt, text=text, checkpoint=checkpoint)
        with self._wake:
            if not len(self._jobs):
                self._last_move = time.monotonic()
            self._jobs.put(job)
            is_leaving = self._leaves_until is not None
            if not is_leaving:
                self._waiting.append(job)
                self._wake.notify()
        if is_leaving:
            self._preempt(job)
        return job.future

    def glance(self) -> Glance:
        """Parts done, the rate of steps since the last glance, and for how long nothing moved."""
        (then, before), now = self._last_glance, (time.monotonic(), self._num_steps)
        self._last_glance = now
        return Glance(
            fractions=self._fractions,
            steps_per_second=(now[1] - before) / max(now[0] - then, 1e-9),
            stuck_seconds=max(now[0] - self._last_move, 0.0) if len(self._jobs) else 0.0,
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
        wait([job.future for job in self._jobs.open()], timeout=deadline_seconds)
        for job in self._jobs.open():
            if not job.is_publishing:
                self._preempt(job)

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
                # First, so that whoever hears of the failure finds an actor that works again.
                self._rebuild()
                for job, outcome in failures:
                    self._jobs.answer(job, outcome)
            elif (job := self._checkpointing.due(self._residents.values())) is not None:
                self._checkpointing.save(self._gang, job)
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
        while self._waiting:
            self._preempt(self._waiting.popleft())
        for job in self._residents.values():
            assert self._leaves_until is not None
            is_late = time.monotonic() >= self._leaves_until
            written = None if is_late else self._checkpointing.save(self._gang, job)
            if written is None:
                self._preempt(job)
            else:
                written.add_done_callback(lambda _, job=job: self._preempt(job))

    def _preempt(self, job: Job) -> None:
        self._jobs.answer(job, self._failed(job, "preempted", "its actor had to leave"))

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

    def _rebuild(self) -> None:
        """Puts an empty gang in the place of the old one, whose memory goes first."""
        del self._gang
        gc.collect()
        waiting = self._waiting
        self._shape = self._shape_for(waiting[0].attempt) if waiting else _Shape(self._num_slots)
        try:
            self._gang = self._new_gang()
        except Exception:
            _LOG.exception("no new gang can be made: the process ends")
            self._on_broken()

    def _new_gang(self) -> Gang:
        return self._engine.new_gang(
            num_slots=self._shape.num_slots, is_frugal=self._shape.is_frugal
        )

    def _advance(self) -> "list[tuple[Job, Outcome]] | None":
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
            job, start = self._waiting.popleft(), time.monotonic()
            # In the table before the gang sees it: whatever happens, somebody answers for it.
            self._residents[job.key] = job
            job.admitted = job.last_saved = start
            self._enter(job)
            job.text = job.checkpoint = None
            self._observe("admit", time.monotonic() - start)
            self._last_move = time.monotonic()

    def _enter(self, job: Job) -> None:
        """Gives the job a slot: with its checkpoint, or from the beginning if that is of no use."""
        if job.checkpoint is not None:
            try:
                job.num_resumed_steps = self._gang.add(self._request(job, job.checkpoint))
            except ValueError as error:
                _LOG.warning("asset %s starts from the beginning: %s", job.key, error)
            else:
                job.seconds = job.kept_seconds = self._gang.seconds()[job.key]
                return
        self._gang.add(self._request(job, None))

    def _request(self, job: Job, checkpoint: bytes | None) -> Any:
        prompt = job.attempt.task.prompt
        return self._engine.request(
            key=job.key,
            prompt=prompt.prompt,
            negative_prompt=prompt.negative_prompt,
            seed=job.attempt.seed,
            text=job.text,
            checkpoint=checkpoint,
        )

    def _step(self) -> None:
        start = time.monotonic()
        self._gang.step()
        self._num_steps += 1
        finished = self._gang.take_finished()
        self._observe("step", time.monotonic() - start)
        for scene in finished:
            job = self._residents.pop(scene.key)
            job.optimised, job.seconds, job.is_publishing = time.monotonic(), scene.seconds, True
            self._publishing.submit(self._publish, job, scene)
        for key, seconds in self._gang.seconds().items():
            self._residents[key].seconds = seconds
        self._fractions = dict(self._gang.progress())

    def _failures(self, error: Exception) -> "list[tuple[Job, Outcome]]":
        """Empties the gang: the outcomes of a failure of the gang itself."""
        _LOG.exception("the gang failed with %d scenes in it", len(self._residents))
        jobs, self._residents, self._fractions = list(self._residents.values()), {}, {}
        kind = retry.classify(error)
        if kind == "out_of_memory" and self._shape.num_slots > 1:
            kind, self._num_slots = "gang_out_of_memory", self._shape.num_slots // 2
            _LOG.warning("from now on the gang has %d slots", self._num_slots)
        elif len(jobs) > 1:
            kind = "suspect"
        return [(job, self._failed(job, kind, _text(error))) for job in jobs]

    def _publish(self, job: Job, scene: Any) -> None:
        try:
            outcome = self._outcome(job, scene)
        except StageError as error:
            _LOG.exception("asset %s was not published", job.key)
            outcome = self._failed(job, error.kind, str(error))
        except Exception as error:
            _LOG.exception("asset %s was not published", job.key)
            outcome = self._failed(job, retry.classify(error), _text(error))
        kind = outcome.error_kind
        if kind is None or retry.policy(kind).change == "new_seed":
            self._checkpointing.remove(job)
        self._last_move = time.monotonic()
        self._jobs.answer(job, outcome)

    def _outcome(self, job: Job, scene: Any) -> Outcome:
        if scene.status != "ok":
            message = f"after {scene.iterations} steps with seed {job.attempt.seed}"
            return self._failed(job, scene.status, message)
        published = self._publisher.publish(job.attempt, scene)
        self._observe("export", published.export_seconds)
        self._observe("commit", published.commit_seconds)
        return Outcome(
            asset_id=job.key,
            attempt_id=job.attempt.attempt_id,
            status=published.result,
            gpu_seconds=scene.seconds,
            num_resumed_steps=job.num_resumed_steps,
            wall_seconds=time.monotonic() - job.submitted,
            stage_seconds={
                "wait": job.admitted - job.submitted,
                "optimise": job.optimised - job.admitted,
                "export": published.export_seconds,
                "commit": published.commit_seconds,
            },
            bytes_written=published.num_bytes,
            losses=dict(scene.losses),
            mesh_status=published.mesh_status,
            iterations=scene.iterations,
            node=self._node,
            device=self._engine.device,
            peak_memory_bytes=self._engine.peak_memory_bytes(),
        )

    def _failed(self, job: Job, kind: str, message: str) -> Outcome:
        return job.failure(kind, message, node=self._node, device=self._engine.device)


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
