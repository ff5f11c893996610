"""File systems that behave like a bucket, and like one that loses answers."""

import threading
from typing import Any, ClassVar

from fsspec.implementations.memory import MemoryFileSystem

from pipeline.objects import Objects


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
