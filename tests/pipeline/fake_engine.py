"""An engine whose scenes take five short steps and obey their prompts; and a `dreambatch` with it.

What a prompt may say: `steps 40` (it takes so many), `slow` (each step takes a second), `kill`
(SIGKILL to its own process in the second step), `break` (the gang raises there), `hang` (the step
does not end), `diverge`, `fade` or `fill` (it ends diverged, empty or saturated with every seed),
`diverge with seed 7` (only with this one), `no export` (its export raises). In the second step the
gang runs out of memory under `memory` unless it has one slot, under `much memory` unless it is
frugal, under `too much memory` always.

A checkpoint is the seed and the steps done, as JSON.

`python -m tests.pipeline.fake_engine run ...` is `dreambatch run ...` with this engine.
"""

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.export.asset import Asset
from pipeline.actors.engine_port import EngineSpec
from pipeline.cli import main
from tests.pipeline.sample_assets import sample_asset

NUM_STEPS = 5
SECONDS_PER_STEP = 0.1
"""Device time that a step of a scene is said to take."""


@dataclass(frozen=True, kw_only=True)
class Request:
    key: str
    prompt: str
    negative_prompt: str
    seed: int
    checkpoint: bytes | None = None

    @property
    def num_steps(self) -> int:
        match = re.search(r"steps (\d+)", self.prompt)
        return int(match[1]) if match else NUM_STEPS


@dataclass(kw_only=True)
class Scene:
    """A resident, and what `take_finished` returns."""

    request: Request
    status: str = "ok"
    iterations: int = 0
    losses: dict[str, float] = field(default_factory=lambda: {"sds": 0.25})

    @property
    def key(self) -> str:
        return self.request.key

    @property
    def seconds(self) -> float:
        return round(self.iterations * SECONDS_PER_STEP, 6)


@dataclass(frozen=True, kw_only=True)
class Saved:
    seed: int
    iterations: int
    seconds: float

    def to_bytes(self) -> bytes | None:
        return json.dumps({"seed": self.seed, "iterations": self.iterations}).encode()


class FakeGang:
    """`companies` are the prompts of each step, for a test to read. Its U-Net takes three quarters
    of a step, and what a step took is known only after the next one, as on a GPU."""

    def __init__(
        self,
        num_slots: int,
        step_seconds: float,
        *,
        is_frugal: bool = False,
        released: threading.Event | None = None,
    ) -> None:
        self.num_slots = num_slots
        self.is_frugal = is_frugal
        self.scenes: list[Scene] = []
        self.companies: list[set[str]] = []
        self._step_seconds = step_seconds
        self._released = released or threading.Event()
        self._unread: list[float] = []

    @property
    def num_free(self) -> int:
        return self.num_slots - len(self.scenes)

    def add(self, request: Request) -> int:
        assert self.num_free
        iterations = 0
        if request.checkpoint is not None:
            document = json.loads(request.checkpoint)
            if document["seed"] != request.seed:
                raise ValueError(f"expected seed {request.seed}, got {document['seed']}")
            iterations = document["iterations"]
        self.scenes.append(Scene(request=request, iterations=iterations))
        return iterations

    def step(self) -> None:
        self.companies.append({scene.request.prompt for scene in self.scenes})
        is_slow = any("slow" in scene.request.prompt for scene in self.scenes)
        start = time.monotonic()
        time.sleep(1.0 if is_slow else self._step_seconds)
        self._unread.append(time.monotonic() - start)
        for scene in self.scenes:
            scene.iterations += 1
            if scene.iterations == 2:
                self._obey(scene.request.prompt)

    def take_finished(self) -> list[Scene]:
        finished = [s for s in self.scenes if s.iterations >= s.request.num_steps]
        self.scenes = [s for s in self.scenes if s not in finished]
        for scene in finished:
            scene.status = _fate(scene.request)
        return finished

    def progress(self) -> Mapping[str, float]:
        return {scene.key: scene.iterations / scene.request.num_steps for scene in self.scenes}

    def seconds(self) -> Mapping[str, float]:
        return {scene.key: scene.seconds for scene in self.scenes}

    def part_seconds(self) -> list[dict[str, float]]:
        known, self._unread = self._unread[:-1], self._unread[-1:]
        parts = {"unet": 0.75, "field": 0.125, "other": 0.125}
        return [{part: share * t for part, share in parts.items()} for t in known]

    def save(self, key: str) -> Saved:
        (scene,) = [scene for scene in self.scenes if scene.key == key]
        return Saved(seed=scene.request.seed, iterations=scene.iterations, seconds=scene.seconds)

    def _obey(self, prompt: str) -> None:
        if "kill" in prompt:
            os.kill(os.getpid(), signal.SIGKILL)
        if "break" in prompt:
            raise RuntimeError("the gang is broken")
        if "hang" in prompt:
            self._released.wait()
        if "memory" in prompt and not self._has_memory(prompt):
            raise RuntimeError("CUDA out of memory. Tried to allocate 1 GiB")

    def _has_memory(self, prompt: str) -> bool:
        if "much memory" in prompt:
            return self.is_frugal and "too much memory" not in prompt
        return self.num_slots == 1


class FakeEngine:
    """`gangs` are all that it made, oldest first. `device` tells one process from another. A step
    that hangs ends when `released` is set."""

    def __init__(self, spec: EngineSpec | None = None, *, step_seconds: float = 0.02) -> None:
        self.num_slots = spec.num_slots if spec is not None else 2
        self._step_seconds = step_seconds
        self.gangs: list[FakeGang] = []
        self.released = threading.Event()
        self.device = f"fake {os.getpid()}"

    def new_gang(self, *, num_slots: int, is_frugal: bool = False) -> FakeGang:
        gang = FakeGang(num_slots, self._step_seconds, is_frugal=is_frugal, released=self.released)
        self.gangs.append(gang)
        return gang

    def request(
        self,
        *,
        key: str,
        prompt: str,
        negative_prompt: str,
        seed: int,
        text: bytes | None = None,
        checkpoint: bytes | None = None,
    ) -> Request:
        return Request(
            key=key,
            prompt=prompt,
            negative_prompt=negative_prompt,
            seed=seed,
            checkpoint=checkpoint,
        )

    def export(self, finished: Scene, metadata: Mapping[str, str]) -> Asset:
        assert metadata["prompt"] == finished.request.prompt
        if "no export" in finished.request.prompt:
            raise ValueError("the mesh is not closed")
        return sample_asset()

    def peak_memory_bytes(self) -> int:
        return 1000


class MeetingEngine(FakeEngine):
    """Its exports end only when as many are under way as its spec says."""

    def __init__(self, spec: EngineSpec) -> None:
        super().__init__(spec, step_seconds=0.001)
        self._together = threading.Barrier(spec.num_exports)

    def export(self, finished: Scene, metadata: Mapping[str, str]) -> Asset:
        self._together.wait(20)
        return super().export(finished, metadata)


def instant(spec: EngineSpec) -> FakeEngine:
    """A factory of engines that take no time at all."""
    return FakeEngine(spec, step_seconds=0.0)


def unloadable(spec: EngineSpec) -> FakeEngine:
    """A factory that fails as weights do that cannot be read."""
    raise ValueError("the weights cannot be read")


def fatal(spec: EngineSpec) -> FakeEngine:
    """A factory that takes its process along."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def _fate(request: Request) -> str:
    if match := re.search(r"diverge with seed (\d+)", request.prompt):
        return "diverged" if request.seed == int(match[1]) else "ok"
    fates = {"diverge": "diverged", "fade": "empty", "fill": "saturated"}
    return next((fate for word, fate in fates.items() if word in request.prompt), "ok")


FACTORIES = {"instant": instant, "unloadable": unloadable, "fatal": fatal}

if __name__ == "__main__":
    sys.exit(main(engine_factory=FACTORIES.get(os.environ.get("FAKE_ENGINE", ""), FakeEngine)))
