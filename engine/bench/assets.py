"""Whole assets an hour: a gang kept full from a queue of prompts, its scenes exported beside it.

    python -m engine.bench assets --model primitives --slots 8,32 --out DIR
    python -m engine.bench assets --model primitives --slots 32 --devices 2 --out DIR
    python -m engine.bench assets --model if --slots 4 --out DIR

The embedded model makes real assets of dev prompts by its whole recipe (`line.py`). The gate: each
scene is ok and has a mesh, and J1 finds most of them in their pools of 64; otherwise nothing is
told. Each device has a gang in a process of its own; of several the first one is measured alone too
(`devices.py`). Models of random weights make nothing: their rate is extrapolated from the
step's, which DIR/step.jsonl must hold (`extrapolation.py`). What is not in it: texts' embedding,
which goes ahead elsewhere, and the upload of an asset. One line a case on the screen and in
DIR/assets.jsonl. Without a GPU all of it runs, but no time is told.
"""

import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine import recipes
from engine.bench import devices, extrapolation, flags, rows
from engine.bench.gate import GateError
from engine.bench.maker import Maker, Order, Report
from engine.bench.rows import AssetsRow
from engine.bench.subjects import MODELS, RECIPES, Model
from engine.hardware import usual_device
from engine.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class AssetsBench:
    """What to measure."""

    model: Model
    recipe: Recipe
    slots: tuple[int, ...]
    out: Path
    commit: str
    generations: int = 2
    """Of a gang, that are watched."""
    devices: int = 1
    compiled: bool = True
    capture: bool = True
    fewest: float = 0.75
    """Share of assets that J1 must find."""

    def __post_init__(self) -> None:
        if not self.slots or min(self.slots) < 1:
            raise ValueError(f"--slots: expected 1,2,4 or so, got {self.slots}")
        if self.generations < 1:
            raise ValueError(f"--generations: expected 1 or more, got {self.generations}")
        if self.devices < 1:
            raise ValueError(f"--devices: expected 1 or more, got {self.devices}")
        if self.devices > 1 and self.model != "primitives":
            raise ValueError("--devices: expected 1 for a model whose assets are extrapolated")

    def order(self, number: int) -> Order:
        """Of a gang of so many slots."""
        return Order(
            recipe=self.recipe,
            slots=number,
            generations=self.generations,
            compiled=self.compiled,
            capture=self.capture,
            fewest=self.fewest,
        )


def main(arguments: Sequence[str]) -> int:
    """Exit code: 0 measured, 1 the gate did not hold, 2 a mistake of the user's."""
    parser = flags.parser("assets")
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--recipe", help="by default the model's own")
    parser.add_argument("--slots", default="8,32", help="numbers")
    parser.add_argument("--generations", type=int, default=2, help="of a gang, that are watched")
    parser.add_argument("--devices", type=int, default=1, help="compared with one")
    flags.add_switches(parser)
    parser.add_argument(
        "--fewest", type=float, default=0.75, help="share of assets that J1 must find"
    )
    given = parser.parse_args(arguments)
    is_cuda = usual_device().type == "cuda"
    try:
        if is_cuda and given.devices > torch.cuda.device_count():
            found = torch.cuda.device_count()
            raise ValueError(f"--devices: expected at most {found} here, got {given.devices}")
        bench = AssetsBench(
            model=given.model,
            recipe=recipes.find(given.recipe or RECIPES[given.model]),
            slots=flags.numbers(given.slots),
            out=given.out,
            commit=given.commit or rows.commit(),
            generations=given.generations,
            devices=given.devices,
            compiled=is_cuda and not given.eager,
            capture=not given.launched,
            fewest=given.fewest,
        )
        # Asked at once: a missing one is not told after minutes.
        steps = measured_steps(bench)
    except ValueError as error:
        parser.error(str(error))
    if not is_cuda:
        print("no CUDA device: assets are made, but no time is told")
    try:
        for row in measured(bench, steps):
            print(told(row), flush=True)
            rows.keep(bench.out / "assets.jsonl", [row])
    except GateError as error:
        print(f"assets: the gate does not hold, so nothing is told: {error}", file=sys.stderr)
        return 1
    return 0


def measured_steps(bench: AssetsBench) -> list[dict[str, Any]]:
    """The steps from which to extrapolate, if so. Raises ValueError where one is missing."""
    if bench.model == "primitives":
        return []
    path, device = bench.out / "step.jsonl", usual_device()
    return [
        extrapolation.measured_step(path, bench.model, bench.recipe, number, device)
        for number in bench.slots
    ]


def measured(bench: AssetsBench, steps: list[dict[str, Any]]) -> Iterator[AssetsRow]:
    """A row for each number of slots. Raises GateError."""
    device = usual_device()
    if steps:
        yield from extrapolation.rows_of(bench.recipe, steps, bench.commit, device)
        return
    for number in bench.slots:
        order = bench.order(number)
        if device.type == "cuda" or bench.devices > 1:
            found = devices.compared(order, bench.devices)
        else:
            alone = Maker(order, device).run()
            found = devices.Together(alone=alone, all=[alone])
        yield made(bench, number, found.all, found.alone)


def made(bench: AssetsBench, number: int, reports: list[Report], alone: Report) -> AssetsRow:
    """The row of devices that worked at the same time."""
    device = usual_device()
    scenes = sum(report.scenes for report in reports)
    timed: dict[str, Any] = {}
    if device.type == "cuda":
        rate = sum(report.assets_per_hour for report in reports)
        timed = {
            "assets_per_hour": rate,
            "asset_seconds": 3600 / rate,
            "exports_at_once": alone.num_exports,
            "export_alone_seconds": alone.export_alone_seconds,
            "exports_behind": sum(report.exports_behind for report in reports),
            "peak_bytes": max(report.peak_bytes for report in reports),
        }
        for name in ("step_ms", "device_ms", "export_seconds", "export_busy"):
            timed[name] = statistics.fmean(getattr(report, name) for report in reports)
        if len(reports) > 1:
            timed["one_device_per_hour"] = alone.assets_per_hour
            timed["times_one"] = rate / alone.assets_per_hour
    return AssetsRow(
        part=bench.model,
        setting=_setting(bench, number, device, is_captured=alone.graphs > 0),
        device=rows.device_name(device),
        versions=rows.versions(),
        commit=bench.commit,
        slots=number,
        devices=bench.devices,
        scenes=scenes,
        found=sum(report.found * report.scenes for report in reports) / scenes,
        **timed,
    )


def told(row: AssetsRow) -> str:
    """The row in a line."""
    what = f"assets {row.part} {row.setting}"
    if row.found is not None:
        what += f": {row.scenes} scenes ok, J1 finds {row.found:.0%}"
    if row.assets_per_hour is None:
        return f"{what}; not timed"
    what += f"; {row.assets_per_hour:.0f} assets an hour, {row.asset_seconds:.2f} s each"
    if row.extrapolated_from is not None:
        return f"{what}, extrapolated; an export takes {row.export_alone_seconds:.2f} s"
    if row.times_one is not None:
        what += f", {row.times_one:.3f} times one device's {row.one_device_per_hour:.0f}"
    return (
        f"{what}; {row.step_ms:.2f} ms a step ({row.device_ms:.2f} on the device); an export takes "
        f"{row.export_seconds:.2f} s (alone {row.export_alone_seconds:.2f}), "
        f"{row.exports_at_once} at a time, busy {row.export_busy:.0%}, "
        f"{row.exports_behind} behind; peak {(row.peak_bytes or 0) / 2**30:.2f} GiB"
    )


def _setting(bench: AssetsBench, number: int, device: torch.device, *, is_captured: bool) -> str:
    words = flags.switched_on(device, compiled=bench.compiled, captured=is_captured)
    many = [f"N={bench.devices}"] if bench.devices > 1 else []
    return " ".join([bench.recipe.name, f"S={number}", *many, *words])
