"""An engine whose scenes take five short steps and obey their prompts; and a `dreambatch` with it.

What a prompt may say: `kill` (SIGKILL to its own process in the second step), `break` (the gang
raises there), `memory` (the gang raises an out-of-memory error there), `diverge` (it ends so with
every seed), `diverge with seed 7` (only with this one), `no export` (its export raises), `slow`
(each step takes a second).

`python -m tests.pipeline.fake_engine run ...` is `dreambatch run ...` with this engine.
"""

import os
import re
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.export.asset import Asset
from pipeline.cli import main
from pipeline.engine_port import EngineSpec
from tests.pipeline.sample_assets import sample_asset

NUM_STEPS = 5


@dataclass(frozen=True, kw_only=True)
class Request:
    key: str
    prompt: str
    negative_prompt: str
    seed: int


@dataclass(kw_only=True)
class Scene:
    """A resident, and what `take_finished` returns."""

    request: Request
    status: str = "ok"
    iterations: int = 0
    seconds: float = 0.5
    losses: dict[str, float] = field(default_factory=lambda: {"sds": 0.25})

    @property
    def key(self) -> str:
        return self.request.key


class FakeGang:
    """`companies` are the prompts of each step, for a test to read."""

    def __init__(self, num_slots: int, step_seconds: float) -> None:
        self.num_slots = num_slots
        self._step_seconds = step_seconds
        self.scenes: list[Scene] = []
        self.companies: list[set[str]] = []

    @property
    def num_free(self) -> int:
        return self.num_slots - len(self.scenes)

    def add(self, request: Request) -> None:
        assert self.num_free
        self.scenes.append(Scene(request=request))

    def step(self) -> None:
        self.companies.append({scene.request.prompt for scene in self.scenes})
        is_slow = any("slow" in scene.request.prompt for scene in self.scenes)
        time.sleep(1.0 if is_slow else self._step_seconds)
        for scene in self.scenes:
            scene.iterations += 1
            if scene.iterations == 2:
                _obey(scene.request.prompt)

    def take_finished(self) -> list[Scene]:
        finished = [scene for scene in self.scenes if scene.iterations >= NUM_STEPS]
        self.scenes = [scene for scene in self.scenes if scene.iterations < NUM_STEPS]
        for scene in finished:
            scene.status = _fate(scene.request)
        return finished

    def progress(self) -> Mapping[str, float]:
        return {scene.key: scene.iterations / NUM_STEPS for scene in self.scenes}


class FakeEngine:
    """`gangs` are all that it made, oldest first. `device` tells one process from another."""

    def __init__(self, spec: EngineSpec | None = None, *, step_seconds: float = 0.02) -> None:
        self._num_slots = spec.num_slots if spec is not None else 2
        self._step_seconds = step_seconds
        self.gangs: list[FakeGang] = []
        self.device = f"fake {os.getpid()}"

    def new_gang(self, *, is_single: bool = False) -> FakeGang:
        num_slots = 1 if is_single else self._num_slots
        self.gangs.append(FakeGang(num_slots, self._step_seconds))
        return self.gangs[-1]

    def request(
        self, *, key: str, prompt: str, negative_prompt: str, seed: int, text: bytes | None = None
    ) -> Request:
        return Request(key=key, prompt=prompt, negative_prompt=negative_prompt, seed=seed)

    def export(self, finished: Scene, metadata: Mapping[str, str]) -> Asset:
        assert metadata["prompt"] == finished.request.prompt
        if "no export" in finished.request.prompt:
            raise ValueError("the mesh is not closed")
        return sample_asset()

    def peak_memory_bytes(self) -> int:
        return 1000


def unloadable(spec: EngineSpec) -> FakeEngine:
    """A factory that fails as weights do that cannot be read."""
    raise ValueError("the weights cannot be read")


def fatal(spec: EngineSpec) -> FakeEngine:
    """A factory that takes its process along."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def _obey(prompt: str) -> None:
    if "kill" in prompt:
        os.kill(os.getpid(), signal.SIGKILL)
    if "break" in prompt:
        raise RuntimeError("the gang is broken")
    if "memory" in prompt:
        raise RuntimeError("CUDA out of memory. Tried to allocate 1 GiB")


def _fate(request: Request) -> str:
    if match := re.search(r"diverge with seed (\d+)", request.prompt):
        return "diverged" if request.seed == int(match[1]) else "ok"
    return "diverged" if "diverge" in request.prompt else "ok"


FACTORIES = {"unloadable": unloadable, "fatal": fatal}

if __name__ == "__main__":
    sys.exit(main(engine_factory=FACTORIES.get(os.environ.get("FAKE_ENGINE", ""), FakeEngine)))
