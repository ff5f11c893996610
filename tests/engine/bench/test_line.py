import itertools
import threading
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.bench import line
from engine.bench.extrapolation import blob
from engine.bench.gate import GateError
from engine.bench.line import Exported, Exporter, watched, window
from engine.configs.export import ExportConfig
from engine.gang import FinishedScene, Gang, SceneRequest
from engine.recipes import get
from tests.engine.fakes import DiscGuidance
from tests.engine.test_gang import recipe, request

STEPS = 3
SCENE = blob(get("smoke"), torch.device("cpu"))


def gang() -> Gang:
    return Gang(replace(recipe(), iterations=STEPS), DiscGuidance(), num_slots=2)


def exporter(own: Gang, *, num_exports: int = 1) -> Exporter:
    return Exporter(own.recipe.export, own._device, num_exports=num_exports, most=2)


def queue() -> Iterator[SceneRequest]:
    return (request(str(k)) for k in itertools.count())


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Prompts in the order of their exports, which cost nothing."""
    seen: list[str] = []

    def export(scene: Any, config: Any, *, metadata: dict[str, str]) -> SimpleNamespace:
        seen.append(metadata["prompt"])
        return SimpleNamespace(mesh_status="empty" if len(seen) == 4 else "ok")

    monkeypatch.setattr(line, "export_asset", export)
    return seen


def export(key: str, start: float, end: float) -> Exported:
    return Exported(key=key, scene=SCENE, mesh_status="ok", start=start, end=end)


def finished(key: str) -> FinishedScene:
    return FinishedScene(
        key=key,
        prompt="",
        seed=0,
        scene=SCENE,
        status="ok",
        iterations=STEPS,
        seconds=1.0,
        losses={},
        ready=None,
    )


def test_a_line_runs_whole_generations_and_exports_behind_the_first(
    exported: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    exported.extend(["before"] * 4)
    own, steps = gang(), []
    monkeypatch.setattr(own, "step", lambda step=own.step: steps.append(step()))
    seen = watched(own, queue(), exporter(own), generations=2)
    assert len(steps) == 3 * STEPS
    assert seen.num_steps == 2 * STEPS
    assert own.num_free == 2
    # The last generation's may have been cancelled before its turn.
    assert [e.key for e in seen.exports] == list("012345")[: len(seen.exports)]
    assert len(seen.exports) >= 4
    assert seen.device_ms > 0


def test_a_scene_without_a_mesh_stops_it(exported: list[str]) -> None:
    own = gang()
    with pytest.raises(GateError, match=r"scene 3: expected a mesh, it is empty"):
        watched(own, queue(), exporter(own), generations=3)


def test_a_scene_that_fails_stops_it(exported: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    own = gang()
    take = own.take_finished
    monkeypatch.setattr(
        own, "take_finished", lambda: [replace(scene, status="diverged") for scene in take()]
    )
    with pytest.raises(GateError, match=r"scene 0 is diverged, expected ok"):
        watched(own, queue(), exporter(own), generations=1)
    assert exported == []


def test_a_window_counts_what_is_done_within_it() -> None:
    exports = [
        export("before", 8.0, 9.0),
        export("into", 9.5, 10.5),
        export("within", 11.0, 15.0),
        export("out of", 19.0, 21.0),
    ]
    times = {"start": 10.0, "end": 20.0, "device_ms": [4.0, 1.0, 3.0]}
    seen = window(exports, **times, num_steps=5, num_due=7, num_exports=1)
    assert (seen.seconds, seen.num_steps, seen.device_ms) == (10.0, 5, 3.0)
    assert seen.num_exported == 2
    assert seen.assets_per_hour == pytest.approx(720.0)
    assert seen.busy == pytest.approx(0.1 * (0.5 + 4.0 + 1.0))
    assert seen.behind == 7 - 3
    assert seen.export_seconds == pytest.approx(1.5)
    two = window(exports, **times, num_steps=5, num_due=7, num_exports=2)
    assert two.busy == pytest.approx(0.5 * seen.busy)
    assert replace(two, busy=seen.busy) == seen


@pytest.mark.parametrize("num_exports", [1, 2])
def test_a_scene_waits_until_there_is_room_for_it(
    num_exports: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that wait or are exported, by one thread or by two: the third has to wait."""
    may_end = threading.Event()
    monkeypatch.setattr(line, "export_asset", lambda *_, **__: _behind(may_end))
    exporting = exporter(gang(), num_exports=num_exports)
    scenes = [finished(key) for key in ("a", "b", "c")]
    putting = threading.Thread(target=lambda: [exporting.put(scene) for scene in scenes])
    putting.start()
    putting.join(0.2)
    assert putting.is_alive()
    assert len(exporting._futures) == 2
    may_end.set()
    putting.join(10)
    assert not putting.is_alive()
    for future in exporting._futures:
        future.result(timeout=10)
    assert [e.key for e in exporting.close()] == ["a", "b", "c"]


def _behind(gate: threading.Event) -> SimpleNamespace:
    assert gate.wait(10)
    return SimpleNamespace(mesh_status="ok")


def test_an_export_alone_is_timed_behind_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 9.0, 10.0, 11.0, 20.0, 23.0])
    monkeypatch.setattr(line.time, "perf_counter", lambda: next(clock))
    found = SimpleNamespace(mesh_status="ok")
    monkeypatch.setattr(line, "export_asset", lambda *_, **__: found)
    assert line.exported_alone(SCENE, ExportConfig()) == 2.0
    monkeypatch.undo()
    found.mesh_status = "empty"
    monkeypatch.setattr(line, "export_asset", lambda *_, **__: found)
    with pytest.raises(GateError, match="export alone: expected a mesh"):
        line.exported_alone(SCENE, ExportConfig())
