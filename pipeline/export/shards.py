"""Assets as WebDataset: tar files whose members share the name of their asset up to its first dot.

    DIR/assets-000000.tar, assets-000001.tar, ...
        <asset_id>.json              metadata        <asset_id>.transforms.json   cameras
        <asset_id>.000.image.png     a view          <asset_id>.000.depth.png     its depth
        <asset_id>.000.normal.png    its normals     <asset_id>.000.mask.png      its mask
        <asset_id>.glb               mesh; absent where it is empty
        <asset_id>.turntable.webp    <asset_id>.thumb.png

A shard is written under a hidden name and renamed when it is full, or when all assets are written.
Assets that are in a shard already are not written again: what is missing goes into further shards,
so that the same command goes on after a kill and adds what was made since; a hidden shard that a
kill left is removed after an hour. The bytes of a shard depend on its assets alone.
"""

import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from pipeline.errors import RunError, UserError
from pipeline.export import asset_files
from pipeline.storage import local_files

_SHARD = re.compile(r"assets-(\d{6,})\.tar")
_MEMBER = re.compile(r"([0-9a-f]{32})\.json")
_BLOCK = 512


class Shards:
    """Where shards are written: of at most `max_bytes`, or of one asset that is larger."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        directory.mkdir(parents=True, exist_ok=True)
        local_files.remove_stale(directory)
        shards = {int(m[1]): path for path in directory.iterdir() if (m := _matched(path))}
        self._there = {x for _, path in sorted(shards.items()) for x in _asset_ids(path)}
        self._number = max(shards, default=-1) + 1
        self._current: tarfile.TarFile | None = None
        self._hidden = directory / f".{uuid4().hex}.tmp"
        self._size = 0

    def has(self, asset_id: str) -> bool:
        """Whether an asset is in a shard that was there before."""
        return asset_id in self._there

    def add(self, asset: Mapping[str, Any]) -> None:
        """Put an asset, which is its row, into a shard. DamagedAsset leaves nothing of it."""
        members = list(asset_files.files(asset, _names(asset["asset_id"])))
        size = sum(_BLOCK + -(-len(data) // _BLOCK) * _BLOCK for _, data in members)
        if self._size and self._size + size > self._max_bytes:
            self.close()
        if self._current is None:
            self._current = tarfile.TarFile(self._hidden, "x", format=tarfile.USTAR_FORMAT)
        for name, data in members:
            self._current.addfile(_member(name, len(data)), io.BytesIO(data))
        self._size += size

    def close(self) -> None:
        """Give the shard that is being written its name."""
        if self._current is None:
            return
        self._current.close()
        self._current, self._size = None, 0
        path = self._directory / f"assets-{self._number:06d}.tar"
        local_files.sync(self._hidden)
        if not local_files.link(self._hidden, path):
            raise RunError(f"{path} has been written by another export meanwhile: run again")
        self._hidden.unlink()
        self._number += 1

    def abandon(self) -> None:
        """Remove what has no name yet."""
        try:
            if self._current is not None:
                self._current.close()
        finally:
            self._hidden.unlink(missing_ok=True)


def _matched(path: Path) -> re.Match[str] | None:
    return _SHARD.fullmatch(path.name)


def _names(asset_id: str) -> asset_files.Names:
    return asset_files.Names(
        transforms=f"{asset_id}.transforms.json",
        metadata=f"{asset_id}.json",
        image=f"{asset_id}.{{}}.image.png",
        depth=f"{asset_id}.{{}}.depth.png",
        normal=f"{asset_id}.{{}}.normal.png",
        mask=f"{asset_id}.{{}}.mask.png",
        mesh=f"{asset_id}.glb",
        turntable=f"{asset_id}.turntable.webp",
        thumb=f"{asset_id}.thumb.png",
    )


def _member(name: str, size: int) -> tarfile.TarInfo:
    """The head of a member: the same for the same file, whoever writes it and when."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member


def _asset_ids(path: Path) -> Iterator[str]:
    try:
        with tarfile.open(path, "r:") as shard:
            for member in shard:
                if match := _MEMBER.fullmatch(member.name):
                    yield match[1]
    except tarfile.TarError as error:
        raise UserError(f"{path} is no readable shard ({error}): delete it, run again") from error
