"""The kinds of places an output can be at, each empty and with its own way to look into it."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import fsspec

from tests import gcs_server, s3_server
from tests.faults.inside import HELD_SECONDS, wait_for
from tests.storage_server import StorageServer

KINDS = ("local", "gs", "s3")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one output is to be. `server` is what stands behind it, if anything."""

    kind: str
    url: str
    server: StorageServer | None

    def objects(self) -> dict[str, Any]:
        """All files of the output by relative name, hidden ones included; a file that was written
        anew has another value."""
        fs, root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        found = fs.find(root, detail=True)
        marks = ("mtime", "ino", "generation", "ETag", "LastModified")
        return {
            path.removeprefix(root).lstrip("/"): (entry["size"], *(entry.get(m) for m in marks))
            for path, entry in found.items()
        }

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        fs, root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        return fs.cat_file(f"{root}/{name}")

    @contextmanager
    def gate(self, notes: Path) -> Iterator[None]:
        """From the note `held` on, a server keeps every write waiting until there is `released`."""
        if self.server is None:
            yield
            return
        arrived = self.server.arrived

        def held(kind: str) -> int | None:
            if kind == "write" and (notes / "held").exists():
                wait_for((notes / "released").exists, HELD_SECONDS)
            return arrived(kind)

        with patch.object(self.server, "arrived", held):
            yield


@dataclass(kw_only=True)
class Places:
    """Makes empty places."""

    directory: Path
    gcs: StorageServer
    s3: StorageServer
    _count: int = field(default=0)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process needs to reach them all."""
        return {**self.gcs.environment(), **self.s3.environment()}

    def empty(self, kind: str) -> Place:
        """A new place."""
        self._count += 1
        name = f"out-{self._count}"
        server = {"local": None, "gs": self.gcs, "s3": self.s3}[kind]
        url = str(self.directory / name) if server is None else server.url(name)
        return Place(kind=kind, url=url, server=server)


@contextmanager
def serve(directory: Path) -> Iterator[Places]:
    """Places in a directory and on two servers, which end afterwards."""
    with ExitStack() as stack:
        gcs = stack.enter_context(gcs_server.serve())
        s3 = stack.enter_context(s3_server.serve())
        yield Places(directory=directory, gcs=gcs, s3=s3)
