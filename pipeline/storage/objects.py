"""Named byte strings under one URL, written in two ways and no third.

`create` makes a name exist with all its bytes, once and for ever; who comes second gets False.

    local   1. write a hidden temporary in the same directory, fsync it
            2. `os.link` it to its name, which fails if the name exists
            3. unlink the temporary    4. fsync the directory
            Killed before 2: a hidden temporary that no listing shows; `remove_stale` deletes it.
            Killed after 2: the object is there, whole.
    others  one request with fsspec's `mode="create"`, of whatever size, atomic on the server:
            `ifGenerationMatch=0` on gs://, `If-None-Match: *` on s3://. Killed before the answer:
            whole or absent. If the answer was lost, the client repeats the request and meets its
            own object, so False may mean "you were first": a caller who must know reads it back.
            (Both clients would send more than 50 or 100 MB in parts, which is conditional too, but
            a refused last part can surface as another error: hence one request.)

`publish` replaces a name in one step, readers see the old bytes or the new: temporary, fsync and
`os.replace` locally, one upload elsewhere. Nothing is renamed in a bucket.

Large objects come from a file of this machine, written step by step: `scratch`, then `create_from`
or `publish_from`. Locally it is the hidden temporary itself; a bucket gets it from the directory of
temporary files in parts of 8 MiB, and shows it once it is whole.

An OSError of the file system passes through as it is, but that of a full disk says which disk; what
else a storage client raises is a `places.StorageError`, an OSError too. Only `probe` judges. Before
an error of a busy server shows here, gcsfs has tried 6 times in 35 s, and s3fs 5 to 25 times in 9
to 45 s. A request that never ends is given up after ten minutes, one of `probe` after 20 s.

A listing asks a bucket once for each 1000 names, and once more where there are none.
"""

import copy
import errno
import hashlib
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self, TypeVar, cast
from uuid import uuid4

from fsspec.spec import AbstractFileSystem

from pipeline.errors import InvalidStore, UserError
from pipeline.storage import local_files, places
from pipeline.storage.remote_file import RemoteFile

_NUM_CONNECTIONS = 32
_BATCH = 1024
_PART_BYTES = 8 * 2**20
_READ_BYTES = 4 * 2**20
_LINK_ERRNOS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS}
_REQUEST_SECONDS = 600
_PROBE_SECONDS = 20

Observe = Callable[[str, "Literal['ok'] | places.ErrorKind", float], None]
"""Told of each operation: its name, how it ended, and the seconds it took."""

_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An object as a listing shows it: its size in bytes, and when it was written, in seconds since
    1970 by the storage's clock."""

    num_bytes: int
    modified: float


class Objects:
    """The objects under `root` of a file system; names are relative and use `/`. Picklable, without
    its `observe`, which is told of each operation."""

    def __init__(self, fs: AbstractFileSystem, root: str, *, url: str) -> None:
        self.url = url.rstrip("/")
        self.is_local = places.is_local(fs)
        self.observe: Observe | None = None
        self._fs = fs
        self._root = root.rstrip("/")
        self._limits = _limits(fs, _REQUEST_SECONDS)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "observe": None}

    def within(self, seconds: float) -> Self:
        """The same objects; TimeoutError where a bucket does not answer within that time."""
        other = copy.copy(self)
        other.observe, other._limits = self.observe, _limits(self._fs, seconds)
        return other

    def address(self, name: str) -> str:
        """The URL of an object."""
        return f"{self.url}/{name}"

    def create(self, name: str, data: bytes) -> bool:
        """Make `name` hold `data` unless it exists; whether this call (surely) made it."""
        with self._operation("create"):
            if self.is_local:
                path = Path(self._path(name))
                with local_files.temporary(path, data) as temporary:
                    return local_files.link(temporary, path)
            whole = {"chunksize": max(len(data) + 1, _PART_BYTES)} if self._limits else {}
            try:
                self._fs.pipe_file(self._path(name), data, mode="create", **whole, **self._limits)
            except Exception as error:
                if places.is_taken(error):
                    return False
                raise
            return True

    def publish(self, name: str, data: bytes) -> str:
        """Make `name` hold `data`, whatever it held; returns its address."""
        with self._operation("publish"):
            if self.is_local:
                path = Path(self._path(name))
                with local_files.temporary(path, data) as temporary:
                    os.replace(temporary, path)
                local_files.sync(path.parent)
            else:
                self._fs.pipe_file(self._path(name), data, **self._limits)
            return self.address(name)

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """The path of a new file of this machine, to be filled for `name`; gone afterwards."""
        if self.is_local:
            path = Path(self._path(name))
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
            try:
                yield temporary
            finally:
                temporary.unlink(missing_ok=True)
        else:
            with tempfile.TemporaryDirectory(prefix="dreambatch-") as directory:
                yield Path(directory) / "object"

    def create_from(self, name: str, path: Path) -> bool:
        """As `create`, with the bytes of a `scratch` file of that name."""
        with self._operation("create"):
            if self.is_local:
                local_files.sync(path)
                return local_files.link(path, Path(self._path(name)))
            try:
                self._fs.put_file(str(path), self._path(name), mode="create", chunksize=_PART_BYTES)
            except Exception as error:
                if places.is_taken(error):
                    return False
                raise
            return True

    def publish_from(self, name: str, path: Path) -> str:
        """As `publish`, with the bytes of a `scratch` file of that name."""
        with self._operation("publish"):
            if self.is_local:
                local_files.sync(path)
                os.replace(path, self._path(name))
                local_files.sync(path.parent)
            else:
                self._fs.put_file(str(path), self._path(name), chunksize=_PART_BYTES)
            return self.address(name)

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        """An object as a file of this machine, of one moment even if it is replaced meanwhile.

        FileNotFoundError if there is none. Locally it is the object itself: open it once.
        """
        if self.is_local:
            yield Path(self._path(name))
        else:
            with self.scratch(name) as path:
                with self._operation("read"):
                    self._fs.get_file(self._path(name), str(path))
                yield path

    def read(self, name: str) -> bytes | None:
        """The bytes of an object, None if there is none. InvalidStore for a directory."""
        with self._operation("read"):
            try:
                return cast(bytes, self._fs.cat_file(self._path(name), **self._limits))
            except (FileNotFoundError, NotADirectoryError):
                return None
            except IsADirectoryError as error:
                raise self._is_directory(name) from error

    def remove(self, name: str) -> None:
        """Delete an object that nobody needs any more; one that is not there is fine. InvalidStore
        for a directory."""
        with self._operation("remove"), suppress(FileNotFoundError):
            try:
                self._fs.rm_file(self._path(name), **self._limits)
            except IsADirectoryError as error:
                raise self._is_directory(name) from error

    def remove_directory(self, name: str) -> None:
        """Delete a directory if it is there and empty; only local disks have them."""
        if self.is_local:
            with suppress(OSError):
                os.rmdir(self._path(name))

    def open(self, name: str) -> BinaryIO:
        """An object for reading here and there; remote ones are fetched by the range. InvalidStore
        for a directory."""
        options: dict[str, Any] = {} if self.is_local else {"cache_type": "none"}
        with self._operation("open"):
            try:
                stream = cast(BinaryIO, self._fs.open(self._path(name), "rb", **options))
            except IsADirectoryError as error:
                raise self._is_directory(name) from error
            return stream if self.is_local else cast(BinaryIO, RemoteFile(stream, self.url))

    def sha256(self, name: str) -> str | None:
        """The digest in hex of an object's bytes, which are read step by step; None if there is no
        such object."""
        digest = hashlib.sha256()
        try:
            with self.open(name) as stream:
                while data := stream.read(_READ_BYTES):
                    digest.update(data)
        except FileNotFoundError:
            return None
        return digest.hexdigest()

    def names(self, directory: str) -> list[str]:
        """The names right under `directory`, without it and without hidden ones; [] if absent."""
        if not self.is_local:
            return [name for name, _ in self._list(directory)]
        with self._operation("list"):
            try:
                names = os.listdir(self._path(directory))
            except (FileNotFoundError, NotADirectoryError):
                return []
            return [name for name in names if not name.startswith(".")]

    def sizes(self, directory: str) -> dict[str, int]:
        """As `names`, with sizes in bytes (0 for a directory); asks a local disk for each."""
        return {name: entry["size"] or 0 for name, entry in self._list(directory)}

    def entries(self, directory: str) -> dict[str, Entry]:
        """As `sizes`, with the moment of writing; directories are left out."""
        return {
            name: Entry(num_bytes=entry["size"] or 0, modified=_modified(entry))
            for name, entry in self._list(directory)
            if entry["type"] == "file"
        }

    def exists(self, name: str) -> bool:
        """Whether there is an object, or a directory with something in it."""
        with self._operation("exists"):
            return bool(self._fs.exists(self._path(name), **self._limits))

    def is_file(self, name: str) -> bool:
        """Whether a local disk has a file of that name and no directory; a bucket may have both."""
        return self.is_local and os.path.isfile(self._path(name))

    def map(
        self, function: Callable[[_T], _R], items: Iterable[_T], *, ahead: int = _BATCH
    ) -> Iterator[_R]:
        """`map` in order: over many connections to a remote place, plainly on a local disk. No more
        than `ahead` results wait to be taken."""
        if self.is_local:
            yield from map(function, items)
            return
        remaining = iter(items)
        with ThreadPoolExecutor(_NUM_CONNECTIONS) as pool:
            while batch := list(itertools.islice(remaining, ahead)):
                yield from pool.map(function, batch)

    def probe(self) -> None:
        """Prove that objects can be created here, only once, and deleted; leaves nothing behind.

        UserError for a place that refuses, or that overwrites what it was told to create. RunError
        for one that is out of reach, or full.
        """
        name, quick = f"_probe-{uuid4().hex}", self.within(_PROBE_SECONDS)
        absent = self._absent_directories()
        try:
            quick.create(name, b"first")
            is_exclusive = not quick.create(name, b"second")
            quick.remove(name)
        except Exception as error:
            what = f"cannot write to {self.url}"
            raise places.one_line(what, error, self._hint(error)) from error
        finally:
            for directory in absent:
                with suppress(OSError):
                    directory.rmdir()
        if not is_exclusive:
            raise UserError(
                f"{self.url} overwrites what is to be created once, so that two workers could both "
                "commit an asset: use a local disk, gs:// or s3://"
            )

    def temporaries(self) -> Iterator[tuple[str, Entry]]:
        """The temporaries on a local disk, of writers at work and of those that were killed."""
        if not self.is_local:
            return
        root = Path(self._root)
        for path in root.rglob(".*.tmp"):
            with suppress(FileNotFoundError):  # its writer has just finished with it
                found = path.stat()
                entry = Entry(num_bytes=found.st_size, modified=found.st_mtime)
                yield path.relative_to(root).as_posix(), entry

    def remove_stale(self, older_than_seconds: float) -> int:
        """Delete temporaries that killed writers left on a local disk; returns how many."""
        removed = 0
        for name, entry in self.temporaries():
            if time.time() - entry.modified >= older_than_seconds:
                self.remove(name)
                removed += 1
        return removed

    def _absent_directories(self) -> list[Path]:
        """The directories that are made with the first object, deepest first; a local disk's."""
        if not self.is_local:
            return []
        root = Path(self._root)
        return [path for path in (root, *root.parents) if not os.path.exists(path)]

    def _hint(self, error: Exception) -> str:
        """How a place that refuses could be mended."""
        if isinstance(error, FileExistsError):
            return "; it is no directory, name one"
        if self.is_local and getattr(error, "errno", None) in _LINK_ERRNOS:
            return "; a mounted bucket has no hard links, name its URL"
        if not self.is_local:
            return "; name a bucket that exists, with credentials that may write there"
        return "; name a place that exists and may be written to"

    def _list(self, directory: str) -> list[tuple[str, dict[str, Any]]]:
        """What is right under `directory`. File systems of buckets answer with an object itself
        where it is no directory, and with a directory's own empty object where there is one."""
        prefix = self._path(directory).rstrip("/") + "/"
        with self._operation("list"):
            try:
                found = self._fs.ls(prefix, detail=True, **self._limits)
            except (FileNotFoundError, NotADirectoryError):
                return []
            paths = ((entry["name"].rstrip("/"), entry) for entry in found)
            named = ((x.removeprefix(prefix), entry) for x, entry in paths if x.startswith(prefix))
            return [(name, entry) for name, entry in named if not name.startswith(".")]

    @contextmanager
    def _operation(self, name: str) -> Iterator[None]:
        """One operation, of which the observer is told."""
        start = time.monotonic()
        result = "ok"
        try:
            with nullcontext() if self.is_local else places.client_errors(self.url):
                yield
        except Exception as error:
            result = places.kind(error)
            if self.is_local and isinstance(error, OSError) and result == "full":
                raise places.with_disk(error, Path(self._root)) from error
            raise
        finally:
            if self.observe is not None:
                self.observe(name, result, time.monotonic() - start)

    def _is_directory(self, name: str) -> InvalidStore:
        return InvalidStore(
            f"{self.address(name)} is a directory: put the file back that belongs there, or remove "
            "it if there never was one"
        )

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


def _limits(fs: AbstractFileSystem, seconds: float) -> dict[str, Any]:
    """The option by which file systems that work in a thread of their own, as those of buckets do,
    give a request up."""
    return {"timeout": seconds} if fs.async_impl else {}


def _modified(entry: Mapping[str, Any]) -> float:
    """When a listed object was written; each file system says it in its own way."""
    moment = next(entry[key] for key in ("mtime", "LastModified", "created") if key in entry)
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    if isinstance(moment, datetime):
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    return float(moment)
