"""`dreambatch export`: assets out of the dataset into files of this machine, one after the other.

Memory holds a few row groups, or one-asset files, and the pictures of one view. An asset that
cannot be read, or that has something else in it than its columns say, is named and left out.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import pyarrow as pa

from pipeline.counts import counted
from pipeline.dataset import judgements, lookup
from pipeline.dataset.assets import Unreadable
from pipeline.errors import InvalidStore, UserError
from pipeline.export import formats, selection
from pipeline.export.asset_files import DamagedAsset
from pipeline.export.folders import Folders
from pipeline.export.shards import Shards
from pipeline.plain_text import printable
from pipeline.storage import places
from pipeline.store import Store

_LOG = logging.getLogger(__name__)
_AHEAD = 4
_SAY_SECONDS = 30.0


class Place(Protocol):
    """Where assets go: `folders` and `shards`."""

    def has(self, asset_id: str) -> bool:
        """Whether an asset is there, whole."""
        ...

    def add(self, asset: Mapping[str, Any]) -> None:
        """Write an asset, which is its row; DamagedAsset if it cannot be."""
        ...

    def close(self) -> None:
        """Write what is held back."""
        ...

    def abandon(self) -> None:
        """Remove what is half written."""
        ...


@dataclass(frozen=True, kw_only=True)
class Exported:
    """How many assets were written, were there before, and could not be read."""

    num_written: int
    num_there: int
    num_damaged: int


@dataclass(frozen=True, kw_only=True)
class Request:
    """Which assets go where: just one of `names`, `is_all` and an SQL `condition`."""

    directory: str
    names: tuple[str, ...] = ()
    is_all: bool = False
    condition: str | None = None
    layout: Literal["folders", "webdataset"] = "folders"
    formats: tuple[str, ...] = ()
    shard_mb: int = 500


def export(url: str, request: Request, *, say: Callable[[str], None]) -> Exported:
    """Does it. UserError for a mistake in it, and where no asset is meant, before anything is
    written."""
    make_place = _checked(request)
    places.expect_apart("--to", request.directory, url)
    store = Store.open(url, create=False)
    asset_ids = _selected(store, request)
    return write(store, make_place(), asset_ids, say=say)


def write(
    store: Store, place: Place, asset_ids: Sequence[str], *, say: Callable[[str], None]
) -> Exported:
    """Write the assets that are not there yet; says now and then how far it is."""
    missing = [x for x in asset_ids if not place.has(x)]
    judged = judgements.read(store)
    num_written, spoken = 0, time.monotonic()
    try:
        each = store.assets.read_each(missing, _columns, ahead=_AHEAD)
        for asset_id, found in zip(missing, each, strict=True):
            try:
                place.add(_row(found) | judged.of(asset_id))
                num_written += 1
            except DamagedAsset as error:
                _LOG.warning("not exported: %s: %s", asset_id, printable(str(error)))
            if time.monotonic() - spoken > _SAY_SECONDS:
                spoken = time.monotonic()
                say(f"{num_written:,} of {len(missing):,} assets are written")
        place.close()
    finally:
        place.abandon()
    return Exported(
        num_written=num_written,
        num_there=len(asset_ids) - len(missing),
        num_damaged=len(missing) - num_written,
    )


def render(done: Exported, directory: str) -> str:
    """The counts in one line."""
    line = f"{counted(done.num_written, 'asset')} written to {directory}"
    if done.num_there:
        line += f", {done.num_there:,} were there"
    if done.num_damaged:
        line += f", {done.num_damaged:,} damaged and left out"
    return line


def _checked(request: Request) -> Callable[[], Place]:
    """How the place is made that is asked for. UserError for what cannot be."""
    chosen = [bool(request.names), request.is_all, request.condition is not None]
    if sum(chosen) != 1:
        raise UserError("expected just one of --asset ID, --all and --where CONDITION")
    if "://" in request.directory:
        raise UserError(f"--to {request.directory}: expected a directory of this machine")
    if request.shard_mb < 1:
        raise UserError(f"--shard-mb {request.shard_mb}: expected 1 or more")
    directory, kinds = Path(request.directory), formats.parse(request.formats)
    if request.layout == "folders":
        return lambda: Folders(directory, kinds)
    if kinds:
        raise UserError("--format: more formats are for folders, leave out --as webdataset")
    return lambda: Shards(directory, request.shard_mb * 1_000_000)


def _selected(store: Store, request: Request) -> list[str]:
    if request.condition is not None:
        return selection.where(store, request.condition)
    if request.is_all:
        return selection.everything(store)
    return lookup.find(store, request.names)


def _columns(schema: pa.Schema) -> list[str]:
    """All but the field, which no other program reads."""
    return [name for name in schema.names if name != "field"]


def _row(found: pa.Table | Unreadable) -> dict[str, Any]:
    if isinstance(found, InvalidStore):
        raise DamagedAsset(str(found)) from found
    if isinstance(found, FileNotFoundError):
        raise DamagedAsset("it is not there any more") from found
    try:
        return found.to_pylist()[0]
    except ValueError as error:  # text that is no text
        raise DamagedAsset(str(error)) from error
