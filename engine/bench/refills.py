"""Whether a gang's memory grows as scenes come and go.

    python -m engine.bench refills --out DIR

The scenes are those of a recipe, but of a few steps, so that slots empty all the time. They start
one after the other: in every step some end and some begin, while their neighbours go on. Every so
many refills the memory is read, after which nothing may grow: what tensors fill and what the
allocator holds of the device (none of it on a CPU), and what the process holds of the host. One
line on the screen and in DIR/refills.jsonl.
"""

import itertools
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from engine import recipes
from engine.bench import flags, rows
from engine.bench.rows import RefillRow
from engine.bench.subjects import PROMPTS, embedded_texts
from engine.gang import Gang, SceneRequest
from engine.guidance import files
from engine.guidance.pixel import PixelGuidance
from engine.hardware import usual_device
from engine.recipe import Recipe

_STATM = Path("/proc/self/statm")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Bytes that are taken."""

    refills: int
    """How many there were before."""
    allocated: int | None
    """By tensors on the GPU; None on a CPU."""
    reserved: int | None
    """By torch's allocator there, graphs included."""
    host: int | None
    """Resident memory of this process; None where the system does not tell it as Linux does."""


@dataclass(frozen=True, kw_only=True)
class Refills:
    """What to do."""

    recipe: Recipe
    """As it is run: of few iterations."""
    slots: int = 8
    refills: int = 2000
    every: int = 100
    """Refills from one reading to the next."""
    captured: bool = True

    def __post_init__(self) -> None:
        if self.slots < 1 or not 1 <= self.every < self.refills:
            raise ValueError(
                "expected --slots of 1 or more and --every of 1 or more, below --refills; "
                f"got {self.slots}, {self.every} and {self.refills}"
            )


def main(arguments: Sequence[str]) -> int:
    """Exit code: 0 measured, 2 a mistake of the user's."""
    parser = flags.parser("refills")
    parser.add_argument("--recipe", default="primitives", help="a name, or a file of JSON")
    parser.add_argument("--guidance", help="a model directory instead of the recipe's")
    parser.add_argument("--steps", type=int, default=4, help="of a scene")
    parser.add_argument("--slots", type=int, default=Refills.slots)
    parser.add_argument("--refills", type=int, default=Refills.refills)
    parser.add_argument("--every", type=int, default=Refills.every, help="refills a reading")
    flags.add_switches(parser, compiles=False)
    given = parser.parse_args(arguments)
    try:
        found = recipes.find(given.recipe)
        asked = Refills(
            recipe=replace(found, iterations=given.steps),
            slots=given.slots,
            refills=given.refills,
            every=given.every,
            captured=not given.launched,
        )
        path = files.resolve(given.guidance or found.guidance)
        files.check(path, space="pixel")
    except ValueError as error:
        parser.error(str(error))
    device = usual_device()
    row = measured(asked, path, device, given.commit or rows.commit())
    print(told(row), flush=True)
    rows.keep(given.out / "refills.jsonl", [row])
    return 0


def measured(asked: Refills, path: Path, device: torch.device, commit: str) -> RefillRow:
    """Fills and fills again; the row."""
    recipe = asked.recipe
    guidance = PixelGuidance.load(path, device=device, with_texts=False)
    gang = Gang(recipe, guidance, num_slots=asked.slots, capture=asked.captured)
    start = time.perf_counter()
    readings = [asdict(reading) for reading in refilled(gang, _requests(path), asked)]
    words = [f"S={asked.slots}", f"{recipe.iterations} steps", f"{asked.refills} refills"]
    words += flags.switched_on(device, captured=gang.num_graphs > 0)
    return RefillRow(
        part=recipe.name,
        setting=" ".join(words),
        device=rows.device_name(device),
        versions=rows.versions(),
        commit=commit,
        slots=asked.slots,
        iterations=recipe.iterations,
        refills=asked.refills,
        graphs=gang.num_graphs,
        seconds=time.perf_counter() - start,
        readings=readings,
    )


def refilled(gang: Gang, requests: Iterator[SceneRequest], asked: Refills) -> Iterator[Reading]:
    """Readings, the first after `every` refills, the last after all."""
    device = next(iter(gang.state().values())).device
    a_step = math.ceil(gang.num_slots / gang.recipe.iterations)
    # The first scenes are no refills.
    number = -gang.num_slots
    while number < asked.refills:
        for _ in range(min(a_step, gang.num_free, asked.refills - number)):
            gang.add(next(requests))
            number += 1
            if number > 0 and (number % asked.every == 0 or number == asked.refills):
                yield read(number, device)
        gang.step()
        gang.take_finished()
        # As whoever drives a gang does.
        gang.part_seconds()


def read(number: int, device: torch.device) -> Reading:
    """The memory as it is."""
    is_gpu = device.type == "cuda"
    pages = int(_STATM.read_text().split()[1]) if _STATM.is_file() else None
    return Reading(
        refills=number,
        allocated=torch.cuda.memory_allocated(device) if is_gpu else None,
        reserved=torch.cuda.memory_reserved(device) if is_gpu else None,
        host=None if pages is None else pages * os.sysconf("SC_PAGE_SIZE"),
    )


def told(row: RefillRow) -> str:
    """The row in a line."""
    first, last = row.readings[0], row.readings[-1]
    words = []
    for name in ("allocated", "reserved", "host"):
        before, after = first[name], last[name]
        if before is not None and after is not None:
            words.append(f"{name} {before / 2**20:.1f} MiB {(after - before) / 2**20:+.1f}")
    milliseconds = 1e3 * row.seconds / (row.refills + row.slots)
    return (
        f"refills {row.part} {row.setting}: from {first['refills']} to {last['refills']} refills "
        f"{', '.join(words)}; {row.seconds:.1f} s, {milliseconds:.1f} ms a scene; "
        f"{row.graphs} graphs"
    )


def _requests(path: Path) -> Iterator[SceneRequest]:
    """Scenes without end, their texts embedded beforehand as in a run."""
    texts = embedded_texts(PROMPTS, torch.device("cpu"), path=path)
    for seed, text in enumerate(itertools.cycle(texts)):
        yield SceneRequest(key=str(seed), prompt="", seed=seed, text=text)
