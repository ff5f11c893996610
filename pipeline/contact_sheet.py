"""One picture of many assets: each from four sides in a row, its prompt underneath.

Sides are the views nearest to azimuth 0 (front), 90, 180 and 270 degrees, composited on white.
"""

import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from pipeline import catalog
from pipeline.errors import UserError
from pipeline.store import Store

NAME = "contact_sheet.png"
SIDES_DEG = (0.0, 90.0, 180.0, 270.0)

_GAP = 8
_FONT_SIZE = 13
_LINE = 17
_MAX_LINES = 2
_INK = (40, 40, 40)


@dataclass(frozen=True)
class _Tile:
    """An asset's four sides and its caption."""

    sides: list[Image.Image]
    caption: str


def draw(store: Store, *, max_assets: int = 64, page: int = 0) -> bytes:
    """PNG of one page of assets, newest first; the head says how many there are in all.

    UserError where the page is empty.
    """
    table = catalog.collect(store)
    table = table.sort_by([("created_at", "descending"), ("asset_id", "ascending")])
    newest = table["asset_id"].to_pylist()
    first = page * max_assets
    chosen = newest[first : first + max_assets]
    if not chosen:
        raise UserError(f"{store.url} has no assets on page {page}: it holds {len(newest)}")
    head = f"{len(newest):,} assets"
    if len(chosen) < len(newest):
        head = f"assets {first + 1:,} to {first + len(chosen):,} of {len(newest):,}"
    tiles = [_tile(store, name) for name in chosen]
    return _sheet(tiles, f"{head}, newest first, each from azimuth 0, 90, 180 and 270 degrees")


def write(store: Store) -> str:
    """Draw the newest assets into the dataset's `contact_sheet.png`; returns its address."""
    return store.publish(NAME, draw(store))


def _tile(store: Store, asset_id: str) -> _Tile:
    row = store.read_asset(asset_id, ["prompt", "views"]).to_pylist()[0]
    nearest = [min(row["views"], key=lambda view: _apart(view, side)) for side in SIDES_DEG]
    return _Tile([_on_white(view["image"]["bytes"]) for view in nearest], row["prompt"])


def _apart(view: dict[str, Any], azimuth_deg: float) -> float:
    """Angle between a view and a side, in degrees."""
    return abs((view["azimuth_deg"] - azimuth_deg + 180.0) % 360.0 - 180.0)


def _on_white(png: bytes) -> Image.Image:
    with Image.open(io.BytesIO(png)) as picture:
        colours = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")


def _sheet(tiles: Sequence[_Tile], head: str) -> bytes:
    """Tiles in columns, so that the sheet is about as wide as it is high."""
    font = ImageFont.load_default(_FONT_SIZE)
    side = max(picture.width for tile in tiles for picture in tile.sides)
    width = len(SIDES_DEG) * side + _GAP
    height = side + _MAX_LINES * _LINE + _GAP
    num_columns = math.ceil(math.sqrt(len(tiles) * height / width))
    num_rows = math.ceil(len(tiles) / num_columns)
    top = _LINE + 2 * _GAP
    sheet = Image.new("RGB", (num_columns * width + _GAP, top + num_rows * height), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((_GAP, _GAP), head, font=font, fill=_INK)
    for index, tile in enumerate(tiles):
        column, row = index % num_columns, index // num_columns
        x, y = _GAP + column * width, top + row * height
        for k, picture in enumerate(tile.sides):
            sheet.paste(picture, (x + k * side, y))
        pen.text((x, y + side), _wrapped(tile.caption, font, width - _GAP), font=font, fill=_INK)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _wrapped(text: str, font: Any, width: int) -> str:
    """At most two lines that fit; the rest becomes dots."""
    letters = max(1, int(width / font.getlength("n")))
    lines = textwrap.wrap(text, letters, max_lines=_MAX_LINES, placeholder=" ...")
    return "\n".join(lines)
