"""The two threads of an actor: one advances the gang, one publishes what it finishes.

    submit ─▶ waiting ─▶ gang thread: admit, step, take ─▶ publishing thread ─▶ Outcome

An exception of one scene fails that scene. An exception of the gang fails all that are in it, as
suspects if there are several, and the gang is built anew; if even that fails the process ends, and
Ray starts another. An attempt that is to run alone gets a gang of one slot, which needs less memory
too: a gang computes all its slots, busy or not. This file knows no ray.
"""

import gc
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from pipeline import retry
from pipeline.engine_port import Engine
from pipeline.publisher import Publisher, StageError
from pipeline.records import Outcome
from pipeline.schedule import Attempt

Observe = Callable[[str, float], None]
"""Takes the name of a stage and its seconds."""

_LOG = logging.getLogger(__name__)
_IDLE_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Glance:
    """How far an actor is: the part done of each scene, and gang steps a second."""

    fractions: Mapping[str, float]
    steps_per_second: float


@dataclass(kw_only=True)
class _Job:
    """An attempt inside the actor; moments are of `time.monotonic`, 0 before they come."""

    attempt: Attempt
    text: bytes | None = None
    future: "Future[Outcome]" = field(default_factory=Future)
    submitted: float = field(default_factory=time.monotonic)
    admitted: float = 0.0
    optimised: float = 0.0

    @property
    def key(self) -> str:
        return self.attempt.task.asset_id


def _leave() -> None:
    os._exit(70)


class Worker:
    """Invariant: an accepted attempt is waiting, resident or being published, and its future is
    resolved once, with an Outcome, unless the worker is stopped first."""

    def __init__(
        self,
        engine: Engine,
        publisher: Publisher,
        *,
        node: str = "",
        observe: Observe = lambda stage, seconds: None,
        on_broken: Callable[[], None] = _leave,
    ) -> None:
        self._engine = engine
        self._publisher = publisher
        self._node = node
        self._observe = observe
        self._on_broken = on_broken
        self._gang = engine.new_gang()
        self._is_single = False
        self._waiting: deque[_Job] = deque()
        self._residents: dict[str, _Job] = {}
        self._wake = threading.Condition()
        self._is_stopping = False
        self._fractions: Mapping[str, float] = {}
        self._num_steps = 0
        self._last_glance = (time.monotonic(), 0)
        self._publishing = ThreadPoolExecutor(1, thread_name_prefix="publish")
        self._thread = threading.Thread(target=self._run, name="gang", daemon=True)
        self._thread.start()

    def submit(self, attempt: Attempt, text: bytes | None = None) -> "Future[Outcome]":
        """Accepts an attempt, with its embedded texts where the engine does not embed them itself;
        the future gets its Outcome when all is over."""
        job = _Job(attempt=attempt, text=text)
        with self._wake:
            self._waiting.append(job)
            self._wake.notify()
        return job.future

    def glance(self) -> Glance:
        """Parts done, and the rate of steps since the last glance."""
        (then, before), now = self._last_glance, (time.monotonic(), self._num_steps)
        self._last_glance = now
        rate = (now[1] - before) / max(now[0] - then, 1e-9)
        return Glance(fractions=dict(self._fractions), steps_per_second=rate)

    def stop(self) -> None:
        """Ends both threads after the current step; what is not published stays unresolved."""
        with self._wake:
            self._is_stopping = True
            self._wake.notify()
        self._thread.join()
        self._publishing.shutdown(wait=True, cancel_futures=True)

    def _run(self) -> None:
        while self._wait_for_work():
            if self._has_wrong_size():
                self._rebuild()
            failures = self._advance()
            if failures is not None:
                # First, so that whoever hears of the failure finds an actor that works again.
                self._rebuild()
                for job, outcome in failures:
                    job.future.set_result(outcome)

    def _wait_for_work(self) -> bool:
        with self._wake:
            while not (self._is_stopping or self._waiting or self._residents):
                self._wake.wait(_IDLE_SECONDS)
            return not self._is_stopping

    def _has_wrong_size(self) -> bool:
        """Whether the next attempt needs a gang of another size and the gang is empty."""
        return bool(
            self._waiting
            and not self._residents
            and self._waiting[0].attempt.alone != self._is_single
        )

    def _rebuild(self) -> None:
        """Puts an empty gang in the place of the old one, whose memory goes first."""
        del self._gang
        gc.collect()
        self._is_single = bool(self._waiting) and self._waiting[0].attempt.alone
        try:
            self._gang = self._engine.new_gang(is_single=self._is_single)
        except Exception:
            _LOG.exception("no new gang can be made: the process ends")
            self._on_broken()

    def _advance(self) -> "list[tuple[_Job, Outcome]] | None":
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
            and self._waiting[0].attempt.alone == self._is_single
        ):
            job, start = self._waiting.popleft(), time.monotonic()
            prompt = job.attempt.task.prompt
            # In the table before the gang sees it: whatever happens, somebody answers for it.
            self._residents[job.key] = job
            job.admitted = start
            self._gang.add(
                self._engine.request(
                    key=job.key,
                    prompt=prompt.prompt,
                    negative_prompt=prompt.negative_prompt,
                    seed=job.attempt.seed,
                    text=job.text,
                )
            )
            job.text = None
            self._observe("admit", time.monotonic() - start)

    def _step(self) -> None:
        start = time.monotonic()
        self._gang.step()
        self._num_steps += 1
        finished = self._gang.take_finished()
        self._observe("step", time.monotonic() - start)
        for scene in finished:
            job = self._residents.pop(scene.key)
            job.optimised = time.monotonic()
            self._publishing.submit(self._publish, job, scene)
        self._fractions = dict(self._gang.progress())

    def _failures(self, error: Exception) -> "list[tuple[_Job, Outcome]]":
        """Empties the gang: the outcomes of a failure of the gang itself."""
        _LOG.exception("the gang failed with %d scenes in it", len(self._residents))
        jobs, self._residents, self._fractions = list(self._residents.values()), {}, {}
        kind = "suspect" if len(jobs) > 1 else retry.classify(error)
        now = time.monotonic()
        return [
            # The device's time was shared, so that this is an upper bound.
            (job, self._failed(job, kind, _text(error), (now - job.admitted) / len(jobs)))
            for job in jobs
        ]

    def _publish(self, job: _Job, scene: Any) -> None:
        try:
            outcome = self._outcome(job, scene)
        except StageError as error:
            _LOG.exception("asset %s was not published", job.key)
            outcome = self._failed(job, error.kind, str(error), scene.seconds)
        except Exception as error:
            _LOG.exception("asset %s was not published", job.key)
            kind = retry.classify(error)
            outcome = self._failed(job, kind, _text(error), scene.seconds)
        job.future.set_result(outcome)

    def _outcome(self, job: _Job, scene: Any) -> Outcome:
        if scene.status != "ok":
            message = f"after {scene.iterations} steps with seed {job.attempt.seed}"
            return self._failed(job, scene.status, message, scene.seconds)
        published = self._publisher.publish(job.attempt, scene)
        self._observe("export", published.export_seconds)
        self._observe("commit", published.commit_seconds)
        return Outcome(
            asset_id=job.key,
            attempt_id=job.attempt.attempt_id,
            status=published.result,
            gpu_seconds=scene.seconds,
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

    def _failed(self, job: _Job, kind: str, message: str, gpu_seconds: float) -> Outcome:
        return Outcome(
            asset_id=job.key,
            attempt_id=job.attempt.attempt_id,
            status="failed",
            error_kind=kind,
            message=message[:1000],
            gpu_seconds=gpu_seconds,
            wall_seconds=time.monotonic() - job.submitted,
            node=self._node,
            device=self._engine.device,
        )


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
