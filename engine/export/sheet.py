"""A contact sheet: many assets in one picture, each a row of sides with its caption underneath."""

import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

_GAP = 8
_FONT_SIZE = 13
_LINE = 17
_MAX_LINES = 2
_INK = (40, 40, 40)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One asset: pictures of one size (PNG, alpha allowed) and what stands under them."""

    caption: str
    pictures: Sequence[bytes]


def contact_sheet(rows: Sequence[Row], head: str) -> bytes:
    """PNG of the rows on white, in as many columns as make it about as wide as it is high.

    Pictures smaller than the widest are enlarged to its size.
    """
    assert rows, "a contact sheet of nothing"
    font = ImageFont.load_default(_FONT_SIZE)
    tiles = [[_on_white(picture) for picture in row.pictures] for row in rows]
    side = max(picture.width for tile in tiles for picture in tile)
    width = max(len(tile) for tile in tiles) * side + _GAP
    height = side + _MAX_LINES * _LINE + _GAP
    num_columns = math.ceil(math.sqrt(len(tiles) * height / width))
    num_rows = math.ceil(len(tiles) / num_columns)
    said = _balanced(head, font, num_columns * width - _GAP)
    top = (1 + said.count("\n")) * _LINE + 2 * _GAP
    sheet = Image.new("RGB", (num_columns * width + _GAP, top + num_rows * height), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((_GAP, _GAP), said, font=font, fill=_INK)
    for index, (row, tile) in enumerate(zip(rows, tiles, strict=True)):
        column, line = index % num_columns, index // num_columns
        x, y = _GAP + column * width, top + line * height
        for k, picture in enumerate(tile):
            filled = ImageOps.contain(picture, (side, side), Image.Resampling.BILINEAR)
            sheet.paste(filled, (x + k * side, y))
        caption = _wrapped(row.caption, _letters(font, width - _GAP), max_lines=_MAX_LINES)
        pen.text((x, y + side), "\n".join(caption), font=font, fill=_INK)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _on_white(png: bytes) -> Image.Image:
    with Image.open(io.BytesIO(png)) as picture:
        colours = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")


def _balanced(text: str, font: Any, width: int) -> str:
    """One line if it fits, else as few as fit, of about one length: no word stands alone."""
    if font.getlength(text) <= width:
        return text
    letters = _letters(font, width)
    fewest = len(_wrapped(text, letters))
    while letters > 1 and len(_wrapped(text, letters - 1)) == fewest:
        letters -= 1
    return "\n".join(_wrapped(text, letters))


def _letters(font: Any, width: int) -> int:
    """How many letters fit side by side, if they are wide ones."""
    return max(1, int(width / font.getlength("n")))


def _wrapped(text: str, letters: int, *, max_lines: int | None = None) -> list[str]:
    """Lines of so many letters; of more than may be the rest becomes dots."""
    return textwrap.wrap(text, letters, max_lines=max_lines, placeholder=" ...")
