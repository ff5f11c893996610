"""A production line on one device: a gang kept full from a queue, exports beside it.

    requests ─▶ gang ─▶ finished scenes ─▶ exporting threads ─▶ assets

As an actor does it: one thread advances the gang, others export what it finishes
(`engine.export.crew`), and the gang waits where a whole gang's scenes are behind. All scenes of a
gang take as many steps, so that they leave together: a generation. What is measured is a window of
whole generations behind a first one, so that as many exports run in it as scenes, if exports keep
up. An actor holds fewer scenes, its slots and as many as it exports at a time: one whose exports
are behind has empty slots for a while, and from then on its scenes leave one after the other.
"""

import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch

from engine.aside import Aside
from engine.bench.gate import GateError
from engine.configs.export import ExportConfig
from engine.export import export_asset
from engine.gang import FinishedScene, Gang, SceneRequest
from engine.scene import Scene


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A scene that has become an asset; moments are those of `time.perf_counter`."""

    key: str
    scene: Scene
    mesh_status: str
    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Of the thread that exported it."""
        return self.end - self.start


@dataclass(frozen=True, kw_only=True)
class Window:
    """What a line did while it was watched."""

    seconds: float
    num_steps: int
    device_ms: float
    """Median of a step's time on the clock of the device."""
    num_exported: int
    """Assets that were done within it."""
    busy: float
    """Part of it in which the exporting threads had something to do."""
    behind: int
    """Scenes of all generations but the last that were not exported at its end."""
    exports: list[Exported]
    """All since the first generation."""

    @property
    def assets_per_hour(self) -> float:
        """Rate at which assets are done."""
        return 3600 * self.num_exported / self.seconds

    @property
    def export_seconds(self) -> float:
        """Median of an export beside the gang."""
        return statistics.median(export.seconds for export in self.exports)


class Exporter:
    """The threads that export, beside the gang's stream as an actor's do."""

    def __init__(
        self, config: ExportConfig, device: torch.device, *, num_exports: int, most: int
    ) -> None:
        """`num_exports` at a time, of `most` scenes that wait or are exported."""
        self.num_exports = num_exports
        self._config = config
        self._aside = Aside(device)
        self._room = threading.BoundedSemaphore(most)
        self._pool = ThreadPoolExecutor(num_exports, thread_name_prefix="export")
        self._futures: list[Future[Exported]] = []

    def put(self, finished: FinishedScene) -> None:
        """Queues a scene, once there is room for it."""
        self._room.acquire()
        future = self._pool.submit(self._export, finished)
        future.add_done_callback(lambda _: self._room.release())
        self._futures.append(future)

    def close(self) -> list[Exported]:
        """What was exported; what waits is forgotten. Raises what an export raised."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        return [future.result() for future in self._futures if not future.cancelled()]

    def _export(self, finished: FinishedScene) -> Exported:
        start = time.perf_counter()
        with self._aside.after(finished.ready):
            asset = export_asset(finished.scene, self._config, metadata=_metadata(finished.prompt))
        return Exported(
            key=finished.key,
            scene=finished.scene,
            mesh_status=asset.mesh_status,
            start=start,
            end=time.perf_counter(),
        )


def watched(
    gang: Gang, requests: Iterator[SceneRequest], exporter: Exporter, *, generations: int
) -> Window:
    """Runs one generation, then so many of which the time is taken; closes the exporter.

    The gang is empty before and after. Raises GateError where a scene is not ok, or has no mesh.
    """
    try:
        _generation(gang, requests, exporter)
        gang.part_seconds()
        start, device_ms = time.perf_counter(), list[float]()
        for _ in range(generations):
            device_ms += _generation(gang, requests, exporter)
        end = time.perf_counter()
    finally:
        exports = exporter.close()
    for export in exports:
        if export.mesh_status != "ok":
            raise GateError(f"scene {export.key}: expected a mesh, it is {export.mesh_status}")
    return window(
        exports,
        start=start,
        end=end,
        device_ms=device_ms,
        num_steps=generations * gang.recipe.iterations,
        num_due=generations * gang.num_slots,
        num_exports=exporter.num_exports,
    )


def window(
    exports: list[Exported],
    *,
    start: float,
    end: float,
    device_ms: list[float],
    num_steps: int,
    num_due: int,
    num_exports: int,
) -> Window:
    """The figures; `num_due` exports, `num_exports` at a time, should have been done by the end.
    `device_ms` need not hold all steps: the last few may not be done yet."""
    busy = sum(max(min(e.end, end) - max(e.start, start), 0.0) for e in exports)
    seconds = max(end - start, 1e-9)
    return Window(
        seconds=seconds,
        num_steps=num_steps,
        device_ms=statistics.median(device_ms) if device_ms else 0.0,
        num_exported=sum(start < e.end <= end for e in exports),
        busy=busy / (num_exports * seconds),
        behind=max(num_due - sum(e.end <= end for e in exports), 0),
        exports=exports,
    )


def exported_alone(scene: Scene, config: ExportConfig, *, repeats: int = 2) -> float:
    """Median seconds of an export with the device to itself, after one that readies everything.

    Raises GateError where it has no mesh.
    """
    seconds = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        asset = export_asset(scene, config, metadata=_metadata(""))
        seconds.append(time.perf_counter() - start)
        if asset.mesh_status != "ok":
            raise GateError(f"export alone: expected a mesh, it is {asset.mesh_status}")
    return statistics.median(seconds[1:])


def _generation(gang: Gang, requests: Iterator[SceneRequest], exporter: Exporter) -> list[float]:
    """Fills the gang and runs it until it is empty; milliseconds of its steps."""
    milliseconds = []
    while gang.num_free:
        gang.add(next(requests))
    while gang.num_free < gang.num_slots:
        gang.step()
        for finished in gang.take_finished():
            if finished.status != "ok":
                raise GateError(f"scene {finished.key} is {finished.status}, expected ok")
            exporter.put(finished)
        milliseconds += [1e3 * sum(parts.values()) for parts in gang.part_seconds()]
    return milliseconds


def _metadata(prompt: str) -> dict[str, str]:
    return {"generator": "dreambatch", "prompt": prompt}
