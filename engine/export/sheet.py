"""A contact sheet: one row of pictures an asset, its caption above."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

_MARGIN = 8
_CAPTION_HEIGHT = 18


@dataclass(frozen=True, kw_only=True)
class Row:
    """One asset's pictures, PNG with alpha, all of one size."""

    caption: str
    pictures: Sequence[bytes]


def contact_sheet(
    rows: Sequence[Row], *, footer: str = "", blocks: int | None = None, side: int = 128
) -> bytes:
    """PNG of the rows on white, in `blocks` columns of rows (by default two from six rows on).

    `footer` is a line at the bottom; `side` the shown size of a picture in pixels.
    """
    if not rows:
        raise ValueError("contact sheet: expected at least one asset, got none")
    blocks = blocks or (1 if len(rows) < 6 else 2)
    per_row = max(len(row.pictures) for row in rows)
    block_width = per_row * side + _MARGIN
    row_height = side + _CAPTION_HEIGHT + _MARGIN
    num_lines = -(-len(rows) // blocks)
    height = num_lines * row_height + _MARGIN + (_CAPTION_HEIGHT if footer else 0)
    sheet = Image.new("RGB", (blocks * block_width + _MARGIN, height), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=13)
    for index, row in enumerate(rows):
        left = _MARGIN + index % blocks * block_width
        top = _MARGIN + index // blocks * row_height
        draw.text((left, top), _fitted(row.caption, font, block_width - _MARGIN), "black", font)
        for column, data in enumerate(row.pictures):
            picture = Image.open(io.BytesIO(data)).convert("RGBA").resize((side, side))
            sheet.paste(picture, (left + column * side, top + _CAPTION_HEIGHT), picture)
    if footer:
        draw.text((_MARGIN, height - _CAPTION_HEIGHT), footer, "black", font)
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text, cut with an ellipsis where it is wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
