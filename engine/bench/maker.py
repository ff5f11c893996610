"""The embedded model's line on one device, and a judge's word on what comes off it."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import torch

from engine.bench import line
from engine.bench.gate import GateError
from engine.bench.line import Exported, Exporter
from engine.bench.subjects import embedded_parts, embedded_texts
from engine.evaluation.benchmark_prompts import benchmark_specs
from engine.evaluation.judge import Judge
from engine.evaluation.judging import verdicts
from engine.evaluation.lexicon import Lexicon
from engine.evaluation.stage import show_scenes
from engine.export import crew
from engine.gang import Gang, SceneRequest
from engine.primitives.captions import caption
from engine.recipe import Recipe

_MOST_JUDGED = 64


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a line makes, and how."""

    recipe: Recipe
    slots: int
    generations: int
    compiled: bool
    capture: bool
    fewest: float
    """Share of assets that J1 must find, for the gate to hold."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Figures of one run of a line; see `engine.bench.rows.AssetsRow`."""

    device: str
    scenes: int
    found: float
    assets_per_hour: float
    step_ms: float
    device_ms: float
    export_seconds: float
    export_alone_seconds: float
    export_busy: float
    exports_behind: int
    num_exports: int
    peak_bytes: int
    graphs: int
    """By which a step was replayed."""


class Maker:
    """A model, a gang and a queue on one device; each run makes other scenes."""

    def __init__(self, order: Order, device: torch.device, *, number: int = 0) -> None:
        """`number` tells the makers of a machine apart."""
        self._order, self._device, self._number = order, device, number
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        guidance = embedded_parts(device, dtype).guidance(device, compiled=order.compiled)
        self._gang = Gang(order.recipe, guidance, num_slots=order.slots, capture=order.capture)
        specs = benchmark_specs("dev")
        self._specs = specs[: order.slots * (1 + order.generations)]
        self._texts = embedded_texts(
            [caption(spec) for spec in self._specs],
            device,
            is_viewed=order.recipe.distillation.prompt_views != "none",
        )
        self._requests = self._queue()

    def run(self) -> Report:
        """A first generation and those that are watched. Raises GateError."""
        order, gang = self._order, self._gang
        exporter = self._exporter()
        is_cuda = self._device.type == "cuda"
        if is_cuda:
            torch.cuda.reset_peak_memory_stats(self._device)
        seen = line.watched(gang, self._requests, exporter, generations=order.generations)
        peak = torch.cuda.max_memory_allocated(self._device) if is_cuda else 0
        found = self._found(seen.exports[-_MOST_JUDGED:])
        if found < order.fewest:
            raise GateError(f"J1 finds {found:.0%} of the assets, expected {order.fewest:.0%}")
        return Report(
            device=torch.cuda.get_device_name(self._device) if is_cuda else "cpu",
            scenes=len(seen.exports),
            found=found,
            assets_per_hour=seen.assets_per_hour,
            step_ms=1e3 * seen.seconds / seen.num_steps,
            device_ms=seen.device_ms,
            export_seconds=seen.export_seconds,
            export_alone_seconds=line.exported_alone(seen.exports[-1].scene, order.recipe.export),
            export_busy=seen.busy,
            exports_behind=seen.behind,
            num_exports=exporter.num_exports,
            peak_bytes=peak,
            graphs=gang.num_graphs,
        )

    def warm(self) -> None:
        """A generation whose time nobody takes: networks are compiled, steps recorded."""
        line.watched(self._gang, self._requests, self._exporter(), generations=0)

    def _exporter(self) -> Exporter:
        """With a generation's room: then the gang has to wait for it."""
        is_gpu = self._device.type == "cuda"
        return Exporter(
            self._order.recipe.export,
            self._device,
            num_exports=crew.size(torch.get_num_threads(), is_gpu=is_gpu),
            most=self._order.slots,
        )

    def _queue(self) -> Iterator[SceneRequest]:
        """For ever: every prompt, then every prompt with the next seed."""
        for k in itertools.count():
            seed, which = divmod(k, len(self._specs))
            yield SceneRequest(
                key=f"{which:03d}-{self._number}-{seed}",
                prompt=caption(self._specs[which]),
                seed=1000 * self._number + seed,
                text=self._texts[which],
            )

    def _found(self, exports: list[Exported]) -> float:
        specs = [self._specs[int(export.key.partition("-")[0])] for export in exports]
        staged = show_scenes([export.scene for export in exports])
        told = verdicts(staged, specs, _lexicon(self._device))
        return sum(verdict.colour_place == 0 for verdict in told) / len(told)


@cache
def _lexicon(device: torch.device) -> Lexicon:
    return Lexicon(Judge.load("j1", device))
