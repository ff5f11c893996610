"""What stands above a sheet stays on it."""

import io

import numpy as np
from PIL import Image

from engine.export.images import png
from engine.export.sheet import Row, contact_sheet

HEAD = "12 assets, newest first, each from azimuth 0, 90, 180, 270"
SIDE = 24
RED = (200, 0, 0)


def pixels(head: str, *, side: int = SIDE) -> np.ndarray:
    """A sheet of one asset, all red."""
    picture = png(Image.new("RGB", (side, side), RED))
    return np.asarray(
        Image.open(io.BytesIO(contact_sheet([Row(caption="", pictures=[picture] * 4)], head)))
    )


def first_line(sheet: np.ndarray) -> int:
    """Where the pictures begin."""
    return int((sheet == RED).all(-1).any(1).argmax())


def test_a_head_that_is_wider_than_its_sheet_goes_on_below() -> None:
    narrow, wide = pixels(HEAD), pixels(HEAD, side=8 * SIDE)
    assert narrow.shape[1] < 120
    # Line by line, and the pictures make room.
    assert first_line(narrow) >= first_line(wide) + 3 * 17
    ink = narrow[: first_line(narrow)].min(-1) < 128
    assert ink.any(0).nonzero()[0].max() < narrow.shape[1] - 2
    assert ink[-34:].any(), "no words in the last lines"
    # Its last word is to be seen.
    assert (pixels(f"{HEAD} left") != pixels(f"{HEAD} self")).any()


def test_the_lines_of_a_head_are_about_as_long_as_each_other() -> None:
    """Two words more than fit do not go below alone."""
    side = 80
    sheet = pixels("word " * 11, side=side)
    ink = sheet[: first_line(sheet)].min(-1) < 128
    assert first_line(sheet) == first_line(pixels("one", side=side)) + 17
    ends = [int(ink[top : top + 17].any(0).nonzero()[0].max()) for top in (8, 25)]
    assert ends[1] > ends[0] / 2


def test_small_pictures_fill_their_cells() -> None:
    """One of a quarter of the side, red with a blue right half, beside a large one."""
    small = Image.new("RGB", (SIDE // 4, SIDE // 4), RED)
    small.paste((0, 0, 200), (SIDE // 8, 0, SIDE // 4, SIDE // 4))
    rows = [
        Row(caption="", pictures=[png(picture)] * 4)
        for picture in (Image.new("RGB", (SIDE, SIDE), (0, 200, 0)), small)
    ]
    sheet = np.asarray(Image.open(io.BytesIO(contact_sheet(rows, "two"))))
    for colour in (RED, (0, 0, 200)):
        ys, xs = (sheet == colour).all(-1).nonzero()
        assert ys.max() - ys.min() + 1 == SIDE
        assert xs.max() - xs.min() + 1 >= 3 * SIDE + SIDE // 3, "all four, each a half of its cell"


def test_a_head_that_fits_stays_in_its_line() -> None:
    for side in (4 * SIDE, 8 * SIDE):
        assert first_line(pixels("one")) == first_line(pixels(HEAD, side=side))
