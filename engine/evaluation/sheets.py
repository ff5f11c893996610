"""Contact sheets of the best and of the worst, so that failures are looked at too.

Subjects are sorted by what is wrong with them, then by their places in the pools.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from engine.evaluation.verdict import Verdict
from engine.export.images import png
from engine.export.sheet import Row, contact_sheet
from engine.primitives.captions import caption

Subject = tuple[Verdict, Float[Tensor, "V 3 h w"]]
"""What a judge said of a subject, and its pictures."""

NUM_ROWS = 24
NUM_SIDES = 4
_ENLARGED = 2


def badness(verdict: Verdict) -> tuple[int, int, int, int]:
    """Sorts the best first."""
    place = verdict.benchmark_place
    return (
        int(not verdict.is_kind_right),
        sum(not right for right in verdict.colours_right),
        verdict.colour_place if place is None else place,
        verdict.geometry_place or 0,
    )


def write_sheets(out: Path, subjects: Sequence[Subject]) -> None:
    """Writes `best.png` and `worst.png`: up to 24 subjects each."""
    order = sorted(subjects, key=lambda subject: badness(subject[0]))
    for name, chosen in (("best", order[:NUM_ROWS]), ("worst", order[: -NUM_ROWS - 1 : -1])):
        write_sheet(out / f"{name}.png", _head(name, len(chosen), len(order)), chosen)


def _head(name: str, shown: int, total: int) -> str:
    return f"all {total}, {name} first" if shown == total else f"the {name} {shown} of {total}"


def write_sheet(path: Path, head: str, subjects: Sequence[Subject]) -> None:
    """Writes one sheet of subjects in their order, each from four sides."""
    rows = [_row(verdict, pictures) for verdict, pictures in subjects]
    path.write_bytes(contact_sheet(rows, head))


def _row(verdict: Verdict, pictures: Float[Tensor, "V 3 h w"]) -> Row:
    wanted, seen = caption(verdict.spec), verdict.taken_for
    if seen == verdict.spec:
        said = "seen as such"
    else:
        said = "nothing to see" if seen is None else f"seen as {caption(seen)}"
    sides = pictures[:: len(pictures) // NUM_SIDES]
    return Row(caption=f"{wanted} - {said}", pictures=[_png(side) for side in sides])


def _png(picture: Float[Tensor, "3 h w"]) -> bytes:
    pixels = (picture * 255.0).round().to(torch.uint8).movedim(0, -1).cpu().numpy()
    image = Image.fromarray(pixels)
    size = (image.width * _ENLARGED, image.height * _ENLARGED)
    return png(image.resize(size, Image.Resampling.NEAREST))
