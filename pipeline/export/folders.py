"""Assets as folders of a local directory, each named by its asset: `DIR/<asset_id>/`.

A folder is made under a hidden name and renamed when it is whole, so that what has the name of an
asset is all of it, whenever the process is killed; `asset_files` says what is in it. Of two exports
into one directory the first to finish a folder wins. What killed exports left is removed after an
hour. More formats are made from the files of the folder itself, also in one that is there already.
"""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from pipeline.export import asset_files, formats
from pipeline.export.asset_files import DamagedAsset
from pipeline.storage import local_files

_TAKEN = {errno.EEXIST, errno.ENOTEMPTY}


class Folders:
    """Where folders are written. `formats` are made besides."""

    def __init__(self, directory: Path, formats: tuple[str, ...] = ()) -> None:
        self._directory = directory
        self._formats = formats
        directory.mkdir(parents=True, exist_ok=True)
        local_files.remove_stale(directory)

    def has(self, asset_id: str) -> bool:
        """Whether an asset is there with all formats."""
        folder = self._directory / asset_id
        return folder.is_dir() and not any(_wanting(folder, self._formats))

    def add(self, asset: Mapping[str, Any]) -> None:
        """Write the folder of an asset, which is its row, or the formats that it does not have.

        DamagedAsset leaves no folder behind that was not there.
        """
        folder = self._directory / asset["asset_id"]
        if folder.is_dir():
            _convert(folder, self._formats)
            return
        hidden = self._directory / f".{folder.name}.{uuid4().hex}.tmp"
        try:
            for name, data in asset_files.files(asset, asset_files.Names()):
                path = hidden / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            _convert(hidden, self._formats)
            _reveal(hidden, folder)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)

    def close(self) -> None:
        """Nothing is held back."""

    def abandon(self) -> None:
        """Nothing is half written."""


def _reveal(hidden: Path, folder: Path) -> None:
    try:
        os.rename(hidden, folder)
    except OSError as error:
        if error.errno not in _TAKEN or not folder.is_dir():
            raise


def _wanting(folder: Path, kinds: Iterable[str]) -> Iterator[formats.Format]:
    """The formats that a folder does not have and has the source of."""
    for kind in map(formats.FORMATS.__getitem__, kinds):
        if (folder / kind.source).is_file() and not (folder / kind.target).is_file():
            yield kind


def _convert(folder: Path, kinds: Iterable[str]) -> None:
    """Make them; the file by which a format is known comes last. DamagedAsset if that fails."""
    for kind in _wanting(folder, kinds):
        with asset_files.damage(f"{kind.source}: "):
            made = kind.convert(lambda name: _read(folder / name))
        for name in sorted(made, key=lambda name: name == kind.target):
            (folder / name).parent.mkdir(exist_ok=True)
            with local_files.temporary(folder / name, made[name]) as temporary:
                os.replace(temporary, folder / name)


def _read(path: Path) -> bytes:
    """A file of the asset; one that is not there is damage, any other error is not."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DamagedAsset(f"{path.name} is not there") from error
