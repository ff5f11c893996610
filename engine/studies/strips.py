"""Pictures of some scenes, kept as one file a variation, and sheets of all variations side by side.

A strip has a scene a line and its views one after the other. Axes: N scenes, V views of the stage.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from engine.evaluation.stage import AZIMUTHS_DEG
from engine.export.images import on_white, png
from engine.export.sheet import Row, contact_sheet

SHOWN_VIEWS = (1, 5)
"""The object's front left, and its back right."""
ENLARGED = 2


def write(path: Path, colour: Float[Tensor, "N V 3 h w"]) -> None:
    """Writes the pictures, which lie in [0, 1], as one strip."""
    lines = colour.movedim(2, -1).permute(0, 2, 1, 3, 4).flatten(2, 3).flatten(0, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(on_white(lines, lines.new_ones(lines.shape[:2]))))


def write_sheet(path: Path, captions: Sequence[str], strips: Mapping[str, Path]) -> None:
    """Writes a sheet: a tile a scene, in it two views of every variation whose strip is there.

    The scenes are the first ones, as many as all strips have.
    """
    seen = {name: _views(strip) for name, strip in strips.items() if strip.is_file()}
    if not seen:
        return
    count = min(len(scenes) for scenes in seen.values())
    rows = [
        Row(
            caption=captions[k],
            pictures=[
                enlarged(scenes[k][view]) for scenes in seen.values() for view in SHOWN_VIEWS
            ],
        )
        for k in range(count)
    ]
    path.write_bytes(contact_sheet(rows, "two views each of:  " + "  |  ".join(seen)))


def enlarged(picture: Image.Image) -> bytes:
    """The picture larger, its pixels still to be seen."""
    size = (picture.width * ENLARGED, picture.height * ENLARGED)
    return png(picture.resize(size, Image.Resampling.NEAREST))


def _views(strip: Path) -> list[list[Image.Image]]:
    """A strip's pictures, scene by scene."""
    with Image.open(strip) as image:
        whole = image.convert("RGB")
    side = whole.width // len(AZIMUTHS_DEG)
    return [
        [
            whole.crop((side * view, side * line, side * (view + 1), side * (line + 1)))
            for view in range(len(AZIMUTHS_DEG))
        ]
        for line in range(math.ceil(whole.height / side))
    ]
