"""Pictures and meshes of assets, each in files of its own, written once.

A mesh is a script with the GLB in base64: a page that was opened as a file may not fetch one.
"""

import base64
import itertools
import logging
import re
from collections.abc import Iterable, Iterator
from typing import Any

from pipeline.dataset.asset_names import shard_of
from pipeline.dataset.assets import Unreadable
from pipeline.gallery.scripts import script
from pipeline.storage.objects import Objects
from pipeline.store import Store

_LOG = logging.getLogger(__name__)
_COLUMNS = ["turntable.bytes", "thumb.bytes", "mesh_glb"]
_AT_ONCE = 32
"""Assets that are read together, and so the most that are in memory."""
_LAST = re.compile(r"([0-9a-f]{32})\.js")


def present(site: Objects, asset_ids: Iterable[str]) -> set[str]:
    """The assets whose media are all there: a listing for each shard."""
    directories = sorted({f"media/{shard_of(asset_id)}" for asset_id in asset_ids})
    found = site.map(site.names, directories)
    return {match[1] for names in found for match in map(_LAST.fullmatch, names) if match}


def write(store: Store, site: Objects, asset_ids: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Write the media of assets; yields each, and whether it could be read. One that could not is
    named in the log."""
    remaining = iter(asset_ids)
    while group := list(itertools.islice(remaining, _AT_ONCE)):
        each = store.assets.read_each(group, _COLUMNS)
        for asset_id, found in zip(group, each, strict=True):
            if isinstance(found, Unreadable):
                _LOG.warning("left out of the gallery: %s", found)
            else:
                _write_asset(site, asset_id, found.to_pylist()[0])
            yield asset_id, not isinstance(found, Unreadable)


def _write_asset(site: Objects, asset_id: str, asset: dict[str, Any]) -> None:
    """The mesh last: its file says that all are there."""
    stem = f"media/{shard_of(asset_id)}/{asset_id}"
    site.publish(f"{stem}.webp", asset["turntable"]["bytes"])
    site.publish(f"{stem}.png", asset["thumb"]["bytes"])
    write_script(site, asset_id, asset["mesh_glb"])


def write_script(site: Objects, asset_id: str, mesh: bytes | None) -> None:
    """Write the mesh of an asset; None: it has none."""
    text = None if mesh is None else base64.b64encode(mesh).decode("ascii")
    name = f"media/{shard_of(asset_id)}/{asset_id}.js"
    site.publish(name, script("mesh", asset_id, text))
