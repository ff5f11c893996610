"""One picture of many assets: each from four sides in a row, its prompt underneath.

Sides are the views nearest to azimuth 0 (front), 90, 180 and 270 degrees, composited on white.
"""

import logging
from typing import Any

import pyarrow as pa

from engine.export.sheet import Row, contact_sheet
from pipeline.dataset import catalog
from pipeline.dataset.asset_table import SCALARS
from pipeline.errors import InvalidStore, UserError
from pipeline.store import Store

_LOG = logging.getLogger(__name__)

NAME = "contact_sheet.png"
SIDES_DEG = (0.0, 90.0, 180.0, 270.0)

_COLUMNS = ["prompt", "views.list.element.image.bytes", "views.list.element.azimuth_deg"]


def draw(store: Store, *, max_assets: int = 64, page: int = 0) -> bytes:
    """PNG of one page of assets, newest first; the head says how many there are in all.

    Assets that cannot be read are left out and named in the log. UserError where the page is empty,
    InvalidStore where none of its assets can be read.
    """
    found = catalog.rows(store, with_scores=False)
    moments = [rows.select(["asset_id", "created_at"]) for rows in found]
    table = pa.concat_tables(moments) if moments else SCALARS.empty_table()
    table = table.sort_by([("created_at", "descending"), ("asset_id", "ascending")])
    newest = table["asset_id"].to_pylist()
    first = page * max_assets
    chosen = newest[first : first + max_assets]
    if not chosen:
        raise UserError(f"{store.url} has no assets on page {page}: it holds {len(newest)}")
    head = f"{len(newest):,} assets"
    if len(chosen) < len(newest):
        head = f"assets {first + 1:,} to {first + len(chosen):,} of {len(newest):,}"
    readable = catalog.readable(store, chosen, "not pictured", _COLUMNS)
    rows = [_row(table.to_pylist()[0]) for table in readable]
    if not rows:
        raise InvalidStore(f"{store.url}: none of the assets on page {page} can be read")
    return contact_sheet(rows, f"{head}, newest first, each from azimuth 0, 90, 180, 270 degrees")


def write(store: Store) -> str | None:
    """Draw the newest assets into the dataset's `contact_sheet.png`; returns its address, or None
    where none of them can be read."""
    try:
        picture = draw(store)
    except InvalidStore as error:
        _LOG.warning("no contact sheet: %s", error)
        return None
    return store.publish(NAME, picture)


def _row(asset: dict[str, Any]) -> Row:
    sides = [min(asset["views"], key=lambda view: _apart(view, side)) for side in SIDES_DEG]
    return Row(caption=asset["prompt"], pictures=[view["image"]["bytes"] for view in sides])


def _apart(view: dict[str, Any], azimuth_deg: float) -> float:
    """Angle between a view and a side, in degrees."""
    return abs((view["azimuth_deg"] - azimuth_deg + 180.0) % 360.0 - 180.0)
