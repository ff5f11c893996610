"""Memory a slot of a recipe takes, and how many slots one GPU has room for.

    python -m engine.bench memory --model if --out DIR
    python -m engine.bench memory --model if --recipe dreamfusion_paper --out DIR

A gang of one scene and one of two are stepped until a step is recorded, with all of the recipe's
views, as late in a run (`engine.slots`, which `--slots auto` goes by, too, up to 16); a larger one
shows whether memory grows as these two let expect. The networks are not compiled, which takes no
less memory; the text encoder is absent. One line on the screen and in DIR/memory.jsonl.
"""

from collections.abc import Callable, Sequence

import torch

from engine import recipes, slots
from engine.bench import flags, rows
from engine.bench.rows import MemoryRow
from engine.bench.subjects import MODELS, RECIPES, Subject, subject
from engine.hardware import usual_device

_NUMBERS = (1, 2, slots.MOST)
_MANY = 2**20
"""Slots: more than there is room for."""


def main(arguments: Sequence[str]) -> int:
    """Exit code: 0 measured, 2 a mistake of the user's."""
    parser = flags.parser("memory")
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--recipe", help="by default the model's own")
    given = parser.parse_args(arguments)
    device = usual_device()
    if device.type == "cpu":
        parser.error("a GPU's memory is measured, and there is no CUDA device")
    try:
        found = recipes.find(given.recipe or RECIPES[given.model])
    except ValueError as error:
        parser.error(str(error))
    asked = subject(given.model, found, None, 1, device)
    guidance = asked.parts.guidance(device)
    room = int(slots.ROOM * torch.cuda.mem_get_info(device)[1])
    row = measured(
        asked,
        lambda number: slots.peak_bytes(asked.recipe, guidance, number),
        room=room,
        device=device,
        commit=given.commit or rows.commit(),
    )
    print(told(row), flush=True)
    rows.keep(given.out / "memory.jsonl", [row])
    return 0


def measured(
    asked: Subject, probe: Callable[[int], int], *, room: int, device: torch.device, commit: str
) -> MemoryRow:
    """The row; `probe` tells the bytes that a gang of so many slots takes."""
    peaks = {number: probe(number) for number in _NUMBERS}
    return MemoryRow(
        part=asked.model,
        setting=f"{asked.recipe.name} V={asked.recipe.views}",
        device=rows.device_name(device),
        versions=rows.versions(),
        commit=commit,
        peaks={number: peak if peak < slots.ENDLESS else None for number, peak in peaks.items()},
        room=room,
        most=slots.extrapolated(peaks.__getitem__, room=room, most=_MANY),
    )


def told(row: MemoryRow) -> str:
    """The row in one line."""
    words = [
        f"no room for {number}" if peak is None else f"{peak / 2**30:.2f} GiB with {number}"
        for number, peak in row.peaks.items()
    ]
    one, two = row.peaks[1], row.peaks[2]
    growth = "" if one is None or two is None else f"{(two - one) / 2**30:.2f} a further scene; "
    return (
        f"memory {row.part} {row.setting}: {', '.join(words)}; {growth}"
        f"room in {row.room / 2**30:.0f} GiB for {row.most}"
    )
