"""File systems that behave like a bucket, and like one that loses answers; clients that do not wait
before they ask again."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any, ClassVar

import fsspec.config
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.storage.objects import Objects
from tests.storage_server import StorageServer


class Bucket(MemoryFileSystem):
    """Memory with a server's promise: to create a name is one indivisible step."""

    protocol = "bucket"
    store: ClassVar[dict[str, Any]] = {}  # pyright: ignore[reportIncompatibleVariableOverride]
    pseudo_dirs: ClassVar[list[str]] = [""]
    lock: ClassVar[threading.RLock] = threading.RLock()

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        with self.lock:
            super().pipe_file(path, value, mode=mode, **options)


class ForgetfulBucket(Bucket):
    """Its answers are lost, and the client repeats each request, as gcsfs does."""

    protocol = "forgetful"

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        super().pipe_file(path, value, mode=mode, **options)
        super().pipe_file(path, value, mode=mode, **options)


class CarelessBucket(Bucket):
    """Overwrites whatever it is told to create, as some servers do."""

    protocol = "careless"

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        super().pipe_file(path, value, mode="overwrite", **options)


class LockedBucket(Bucket):
    """Refuses every write, with the error that gcsfs raises."""

    protocol = "locked"

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        raise OSError("Forbidden: https://storage.googleapis.com/upload\nno storage.objects.create")


def objects_in(kind: type[Bucket]) -> Objects:
    """An empty place in a bucket of that kind."""
    kind.store.clear()
    kind.pseudo_dirs[:] = [""]
    return Objects(kind(), "/place", url=f"{kind.protocol}://place")


def make_impatient(server: StorageServer, patch: pytest.MonkeyPatch) -> None:
    """The server's client gives up as it always does, but without waiting between its tries."""
    patch.setattr("gcsfs.retry.asyncio", SimpleNamespace(sleep=lambda _: asyncio.sleep(0)))
    patch.setattr("s3fs.core.S3FileSystem.retries", 1)
    options: dict[str, Any] = dict(server.options())
    if server.protocol == "s3":
        options["config_kwargs"] = {"retries": {"max_attempts": 0}}
    patch.setitem(fsspec.config.conf, server.protocol, options)
