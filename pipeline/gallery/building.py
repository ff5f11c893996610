"""From a dataset to its page; what a kill leaves in each step is told in `pages.py`."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import UserError
from pipeline.gallery import columns, media, pages, rows, unmade
from pipeline.gallery.columns import Column
from pipeline.gallery.rows import Rows
from pipeline.gallery.scripts import script
from pipeline.storage.objects import Objects
from pipeline.store import Store

_SAY_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Built:
    """What came of it. `num_unreadable` assets could not be read; `num_older` are beyond the
    limit."""

    address: str
    num_assets: int
    num_new: int
    num_unreadable: int
    num_older: int
    num_quarantined: int
    num_rejected: int


def build(
    store: Store, to: str, *, limit: int | None = None, say: Callable[[str], None] = print
) -> Built:
    """Write or renew the page of a dataset into the directory `to`, of the newest `limit` assets.

    UserError where something that is no gallery lies in the way.
    """
    if limit is not None and limit < 1:
        raise UserError(f"--limit: expected 1 or more, got {limit}")
    site = pages.open_site(to)
    with rows.newest_first(store) as everything:
        wanted = everything.newest(limit)
        num_new, unreadable = write_media(store, site, wanted, say)
        shown = wanted.without(unreadable)
        failed = unmade.find(store, everything.having)
        head = _head(store, everything, failed)
        address = write_page(site, shown, set(store.carried_schema().names), failed, head)
    return Built(
        address=address,
        num_assets=len(shown),
        num_new=num_new,
        num_unreadable=len(unreadable),
        num_older=len(everything) - len(wanted),
        num_quarantined=failed.num_quarantined,
        num_rejected=failed.num_rejected,
    )


def render(built: Built) -> str:
    """What came of it, for a person."""
    lines = [
        f"{built.num_assets:,} assets ({built.num_new:,} new), {built.num_quarantined:,} "
        f"quarantined and {built.num_rejected:,} rejected prompts"
    ]
    if built.num_older:
        lines.append(f"{built.num_older:,} older assets are beyond the limit and not shown")
    if built.num_unreadable:
        lines.append(f"{built.num_unreadable:,} assets could not be read and are not shown")
    return "\n".join([*lines, f"open {built.address} in a browser"])


def write_media(
    store: Store, site: Objects, wanted: Rows, say: Callable[[str], None]
) -> tuple[int, set[str]]:
    """Write what media are missing. How many assets are new, and the ids of unreadable ones."""
    asset_ids: list[str] = sorted(wanted.column("asset_id").to_pylist())
    there = media.present(site, asset_ids)
    missing = [asset_id for asset_id in asset_ids if asset_id not in there]
    unreadable, said = set[str](), time.monotonic()
    for number, (asset_id, is_written) in enumerate(media.write(store, site, missing)):
        if not is_written:
            unreadable.add(asset_id)
        if time.monotonic() - said > _SAY_SECONDS:
            said = time.monotonic()
            say(f"{number + 1:,} of {len(missing):,} new assets")
    return len(missing) - len(unreadable), unreadable


def write_page(
    site: Objects, shown: Rows, carried: set[str], failed: unmade.Unmade, head: dict[str, Any]
) -> str:
    """Write the data of the page and make it the page; returns its address."""
    described = columns.describe(shown, carried)
    chunks = (_encoded(described, chunk) for chunk in shown.chunks())
    first = next(chunks)
    names: list[str] = []
    for number, chunk in enumerate(chunks):
        names.append(pages.write_data(site, "rows", script("rows", number, chunk)))
    listed = list(unmade.wire(failed))
    if listed:
        names.append(pages.write_data(site, "unmade", script("unmade", listed)))
    head = head | {
        "columns": list(columns.wire(described)),
        "shown": len(shown),
        "chunks": [name for name in names if "/rows-" in name],
        "unmade": names[-1] if listed else None,
    }
    index = pages.write_data(site, "index", script("start", head, first))
    return pages.publish(site, index=index, kept=names)


def _encoded(described: list[Column], chunk: pa.Table) -> list[list[Any]]:
    """A list for each column, in their order."""
    return [columns.encode(column, chunk[column.name]) for column in described]


def _head(store: Store, everything: Rows, failed: unmade.Unmade) -> dict[str, Any]:
    """What the top of the page says: of the whole dataset, shown or not. The place where it lies is
    left out, since pages are given away."""
    return {
        "name": store.url.rstrip("/").rpartition("/")[2],
        "committed": len(everything),
        "quarantined": failed.num_quarantined,
        "rejected": failed.num_rejected,
        "gpu_seconds": float(np.nansum(everything.table["gpu_seconds"].to_numpy())),
        "recipes": _distinct(everything, "recipe"),
        "models": _distinct(everything, "guidance"),
    }


def _distinct(everything: Rows, name: str) -> list[str]:
    return sorted(x for x in everything.table[name].unique().to_pylist() if x is not None)
