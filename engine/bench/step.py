"""A whole step of a gang, by its parts: what it costs around the U-Net, and what the U-Net does.

    python -m engine.bench step --model if --slots 1,2,4,8 --out DIR

For each number of slots a gang is filled and warmed up; then the gate holds one of its steps
against an exact gang's (`step_gate.py`), then its steps are timed: the parts by CUDA events, the
whole by the clock too, launches and waits by the profiler, the U-Net's arithmetic against the rate
of a plain product in the same run. One line a case on the screen and in DIR/step.jsonl. Without a
GPU all of it runs but the timing.
"""

import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from engine import occupancy, recipes, slots
from engine.bench import activity, flags, rows, step_gate
from engine.bench.flops import encoder_flops, unet_flops
from engine.bench.gate import GateError
from engine.bench.rows import StepRow
from engine.bench.subjects import MODELS, RECIPES, Model, Subject, subject
from engine.bench.timing import matmul_rate
from engine.gang import Gang
from engine.guidance.guidance import Guidance
from engine.hardware import usual_device
from engine.replay import WARM_UP

_PROFILED = 5
"""Steps under the profiler."""


@dataclass(frozen=True, kw_only=True)
class StepBench:
    """What to measure."""

    model: Model
    recipe: str
    slots: tuple[int, ...] | Literal["auto"]
    out: Path
    commit: str
    views: int | None = None
    """Of each scene; None: the recipe's."""
    compiled: bool = True
    capture: bool = True
    recomputes: bool = False
    """Whether an image encoder's activations are made anew on the way back."""
    warm: int = 20
    """Steps before anything is timed."""
    repeats: int = 50

    def __post_init__(self) -> None:
        if self.slots != "auto" and not (self.slots and min(self.slots) >= 1):
            raise ValueError(f"--slots: expected 1,2,4 or so, or auto, got {self.slots}")
        if self.warm < WARM_UP + 1 or self.repeats < 1:
            raise ValueError(
                f"expected --warm of {WARM_UP + 1} or more and --repeats of 1 or more, "
                f"got {self.warm} and {self.repeats}"
            )


def main(arguments: Sequence[str]) -> int:
    """Exit code: 0 measured, 1 the gate did not hold, 2 a mistake of the user's."""
    parser = flags.parser("step")
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--recipe", help="by default the model's own")
    parser.add_argument("--slots", default="1,2,4,8,16", help="numbers, or auto")
    parser.add_argument("--views", type=int, help="by default the recipe's")
    parser.add_argument("--warm", type=int, default=20, help="steps before the first timed one")
    parser.add_argument("--repeats", type=int, default=50, help="timed steps")
    flags.add_switches(parser)
    parser.add_argument(
        "--recompute", action="store_true", help="an image encoder's activations on the way back"
    )
    given = parser.parse_args(arguments)
    device = usual_device()
    is_cuda = device.type == "cuda"
    try:
        bench = StepBench(
            model=given.model,
            recipe=given.recipe or RECIPES[given.model],
            slots="auto" if given.slots == "auto" else flags.numbers(given.slots, ", or auto"),
            views=given.views,
            out=given.out,
            commit=given.commit or rows.commit(),
            compiled=is_cuda and not given.eager,
            capture=not given.launched,
            recomputes=given.recompute,
            warm=given.warm,
            repeats=given.repeats,
        )
        found = recipes.find(bench.recipe)
    except ValueError as error:
        parser.error(str(error))
    if not is_cuda:
        print("no CUDA device: steps are compared, but not timed")
    most = slots.MOST if bench.slots == "auto" else max(bench.slots)
    asked = subject(bench.model, found, bench.views, most, device)
    try:
        for row in measured(bench, asked, device):
            print(told(row), flush=True)
            rows.keep(bench.out / "step.jsonl", [row])
    except GateError as error:
        print(f"step: the gate does not hold, so nothing is timed: {error}", file=sys.stderr)
        return 1
    return 0


def measured(bench: StepBench, asked: Subject, device: torch.device) -> Iterator[StepRow]:
    """A row for each number of slots for which there is memory. Raises GateError."""
    fast = asked.parts.guidance(device, compiled=bench.compiled, recomputes=bench.recomputes)
    plain = asked.parts.guidance(device, recomputes=bench.recomputes)
    numbers = bench.slots
    if numbers == "auto":
        # Of the plain networks, which take no less and need not be compiled for sizes of no use.
        most = slots.fitting(asked.recipe, plain, most=slots.MOST)
        print(f"--slots auto: {most}")
        numbers = (most,)
    rate = matmul_rate(device) if device.type == "cuda" else None
    for number in numbers:
        try:
            yield _measured(bench, asked, fast, plain, number, rate, device)
        except torch.OutOfMemoryError:
            print(f"S={number}: not the memory for it")
            break


def _measured(
    bench: StepBench,
    asked: Subject,
    fast: Guidance,
    plain: Guidance,
    number: int,
    rate: float | None,
    device: torch.device,
) -> StepRow:
    if rate is not None:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    gang = asked.filled(fast, number, capture=bench.capture)
    for _ in range(bench.warm):
        gang.step()
    _progress(f"S={number}: compiled and warm", start)
    # Before others come: what is replayed allocates nothing any more.
    peak = None if rate is None else torch.cuda.max_memory_allocated()
    exact = asked.parts.exact().guidance(device)
    others = [asked.filled(guidance, number, capture=False) for guidance in (plain, exact)]
    errors = step_gate.hold(gang, *others)
    del exact, others
    _progress(f"S={number}: the gate holds", start)
    recipe = asked.recipe
    row = StepRow(
        part=bench.model,
        setting=_setting(bench, asked, gang, device),
        device=rows.device_name(device),
        versions=rows.versions(),
        commit=bench.commit,
        slots=number,
        views=recipe.views,
        samples=recipe.march.num_samples,
        occupied=float(occupancy.occupied(gang.state()["density"], recipe.march).float().mean()),
        errors=errors,
        graphs=gang.num_graphs,
        parts_ms=None,
        peak_bytes=peak,
    )
    return row if rate is None else _timed(row, bench, asked, gang, rate)


def _progress(what: str, start: float) -> None:
    print(f"{what} after {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)


def _timed(row: StepRow, bench: StepBench, asked: Subject, gang: Gang, rate: float) -> StepRow:
    def run() -> None:
        gang.step()
        gang.take_finished()

    torch.cuda.synchronize()
    gang.part_seconds()
    start = time.perf_counter()
    for _ in range(bench.repeats):
        run()
    torch.cuda.synchronize()
    wall = 1e3 * (time.perf_counter() - start) / bench.repeats
    if gang.num_free:
        raise GateError(f"{gang.num_free} of {row.slots} scenes failed while they were timed")
    told = gang.part_seconds()
    parts = {part: 1e3 * statistics.median(step[part] for step in told) for part in told[0]}
    pairs = row.slots * asked.recipe.evaluations_a_step
    flops = 2 * pairs * unet_flops(asked.parts.unet.config)
    return replace(
        with_encoder(row, asked, parts, rate),
        parts_ms=parts,
        device_ms=1e3 * statistics.median(sum(step.values()) for step in told),
        wall_ms=wall,
        scene_ms=wall / row.slots,
        beside_unet=sum(ms for part, ms in parts.items() if part != "unet") / parts["unet"],
        unet_flops=flops,
        unet_share=flops / (1e-3 * parts["unet"]) / rate,
        matmul_rate=rate,
        activity=asdict(activity.watched(run, repeats=_PROFILED)),
    )


def with_encoder(row: StepRow, asked: Subject, parts: dict[str, float], rate: float) -> StepRow:
    """The row with the image encoder's arithmetic, where the model has one: a picture a view."""
    vae = asked.parts.vae
    if vae is None:
        return row
    size = asked.parts.unet.config.sample_size * 2 ** (len(vae.config.block_out_channels) - 1)
    pictures = row.slots * row.views
    forward, gradient = (pictures * flops for flops in encoder_flops(vae.config, size))
    return replace(
        row,
        vae_flops={"forward": forward, "gradient": gradient},
        vae_share=(forward + gradient) / (1e-3 * parts["vae"]) / rate,
    )


def _setting(bench: StepBench, asked: Subject, gang: Gang, device: torch.device) -> str:
    words = flags.switched_on(
        device,
        compiled=bench.compiled,
        captured=gang.num_graphs > 0,
        recomputing=bench.recomputes and asked.parts.vae is not None,
    )
    return " ".join([bench.recipe, f"S={gang.num_slots}", f"V={asked.recipe.views}", *words])


def told(row: StepRow) -> str:
    """The row in a line."""
    what = f"step {row.part:<10} {row.setting}"
    if row.parts_ms is None or row.activity is None:
        return f"{what} ran"
    parts = ", ".join(f"{part} {ms:.2f}" for part, ms in row.parts_ms.items())
    calls = row.activity
    vae = "" if row.vae_share is None else f"VAE at {row.vae_share:.1%}, "
    return (
        f"{what}: {row.wall_ms:.2f} ms wall, {row.device_ms:.2f} device ({parts}), "
        f"{row.scene_ms:.2f} a scene; beside the U-Net {row.beside_unet:.1%} of it; "
        f"{vae}U-Net at {row.unet_share:.1%} of {1e-12 * (row.matmul_rate or 0):.0f} TFLOP/s; "
        f"{calls['launches']:.0f} launches, {calls['graph_launches']:.0f} graphs, "
        f"{calls['synchronisations']:.1f} waits, {calls['fetches']:.1f} fetches, "
        f"busy {calls['busy_ms']:.2f}; peak {(row.peak_bytes or 0) / 2**30:.2f} GiB"
    )
