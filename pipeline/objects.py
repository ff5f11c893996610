"""Named byte strings under one URL, written in two ways and no third.

`create` makes a name exist with all its bytes, once and for ever; who comes second gets False.

    local   1. write a hidden temporary in the same directory, fsync it
            2. `os.link` it to its name, which fails if the name exists
            3. unlink the temporary    4. fsync the directory
            Killed before 2: a hidden temporary that no listing shows; `remove_stale` deletes it.
            Killed after 2: the object is there, whole.
    others  one request with fsspec's `mode="create"` (`ifGenerationMatch=0` on Google Cloud
            Storage), atomic on the server. Killed before the answer: whole or absent. If the answer
            was lost, the client repeats the request and meets its own object, so False may mean
            "you were first": a caller who must know reads the object back.

`publish` replaces a name in one step, readers see the old bytes or the new: temporary, fsync and
`os.replace` locally, one upload elsewhere. Nothing is renamed in a bucket.

Any error of the file system passes through as it is; only `probe` judges it.
"""

import errno
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar, cast
from uuid import uuid4

from fsspec.spec import AbstractFileSystem

from pipeline import places
from pipeline.errors import UserError

_NUM_CONNECTIONS = 32
_BATCH = 1024
_LINK_ERRNOS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS}

_T = TypeVar("_T")
_R = TypeVar("_R")


class Objects:
    """The objects under `root` of a file system; names are relative and use `/`. Picklable."""

    def __init__(self, fs: AbstractFileSystem, root: str, *, url: str) -> None:
        self.url = url.rstrip("/")
        self.is_local = places.is_local(fs)
        self._fs = fs
        self._root = root.rstrip("/")

    def address(self, name: str) -> str:
        """The URL of an object."""
        return f"{self.url}/{name}"

    def create(self, name: str, data: bytes) -> bool:
        """Make `name` hold `data` unless it exists; whether this call (surely) made it."""
        if not self.is_local:
            try:
                self._fs.pipe_file(self._path(name), data, mode="create")
            except FileExistsError:
                return False
            return True
        path = Path(self._path(name))
        with _temporary(path, data) as temporary:
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
        _sync_directory(path.parent)
        return True

    def publish(self, name: str, data: bytes) -> str:
        """Make `name` hold `data`, whatever it held; returns its address."""
        if self.is_local:
            path = Path(self._path(name))
            with _temporary(path, data) as temporary:
                os.replace(temporary, path)
            _sync_directory(path.parent)
        else:
            self._fs.pipe_file(self._path(name), data)
        return self.address(name)

    def read(self, name: str) -> bytes | None:
        """The bytes of an object, None if there is none."""
        try:
            return cast(bytes, self._fs.cat_file(self._path(name)))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def remove(self, name: str) -> None:
        """Delete an object that nobody needs any more; one that is not there is fine."""
        with suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    def remove_directory(self, name: str) -> None:
        """Delete a directory if it is there and empty; only local disks have them."""
        if self.is_local:
            with suppress(OSError):
                os.rmdir(self._path(name))

    def open(self, name: str) -> BinaryIO:
        """An object for reading here and there; remote ones are fetched by the range."""
        options: dict[str, Any] = {} if self.is_local else {"cache_type": "none"}
        return cast(BinaryIO, self._fs.open(self._path(name), "rb", **options))

    def names(self, directory: str) -> list[str]:
        """The names right under `directory`, without it and without hidden ones; [] if absent."""
        try:
            paths = self._fs.ls(self._path(directory), detail=False)
        except FileNotFoundError:
            return []
        return [name for path in paths if not (name := PurePosixPath(path).name).startswith(".")]

    def sizes(self, directory: str) -> dict[str, int]:
        """As `names`, with sizes in bytes (0 for a directory); asks a local disk for each."""
        try:
            entries = self._fs.ls(self._path(directory), detail=True)
        except FileNotFoundError:
            return {}
        sizes = {PurePosixPath(entry["name"]).name: entry["size"] or 0 for entry in entries}
        return {name: size for name, size in sizes.items() if not name.startswith(".")}

    def exists(self, name: str) -> bool:
        """Whether there is an object, or a directory with something in it."""
        return bool(self._fs.exists(self._path(name)))

    def map(self, function: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
        """`map` in order: over many connections to a remote place, plainly on a local disk."""
        if self.is_local:
            yield from map(function, items)
            return
        remaining = iter(items)
        with ThreadPoolExecutor(_NUM_CONNECTIONS) as pool:
            while batch := list(itertools.islice(remaining, _BATCH)):
                yield from pool.map(function, batch)

    def probe(self) -> None:
        """Prove that objects can be created here, only once, and deleted; leaves nothing behind.

        UserError for a place that refuses, or that overwrites what it was told to create.
        """
        name = f"_probe-{uuid4().hex}"
        try:
            self.create(name, b"first")
            is_exclusive = not self.create(name, b"second")
            self._fs.rm_file(self._path(name))
        except Exception as error:
            if places.is_final(error):
                needs_links = self.is_local and getattr(error, "errno", None) in _LINK_ERRNOS
                hint = "; name a place that exists and may be written to"
                if needs_links:
                    hint = "; a mounted bucket has no hard links, name its URL"
                if isinstance(error, FileExistsError):
                    hint = "; it is no directory, name one"
                text = f"cannot write to {self.url}: {places.reason(error)}{hint}"
                raise UserError(text) from error
            raise
        if not is_exclusive:
            raise UserError(
                f"{self.url} overwrites what is to be created once, so that two workers could both "
                "commit an asset: use a local disk, gs:// or s3://"
            )

    def remove_stale(self, older_than_seconds: float) -> int:
        """Delete temporaries that killed writers left on a local disk; returns how many."""
        if not self.is_local:
            return 0
        removed = 0
        for path in Path(self._root).rglob(".*.tmp"):
            try:
                if time.time() - path.stat().st_mtime >= older_than_seconds:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                continue  # its writer has just finished with it
        return removed

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


@contextmanager
def _temporary(path: Path, data: bytes) -> Iterator[Path]:
    """A hidden file beside `path` with `data` safely on disk; gone afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
