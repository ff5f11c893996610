"""What `gcs_server` and `s3_server` share: one bucket, and what can go wrong on the way to it.

fail_next     a request is answered with an error; nothing has been done
lose_answers  a write is done, and the connection ends without an answer
latency       every answer comes late
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

import fsspec.config

from pipeline.storage import places
from pipeline.storage.objects import Objects

BUCKET = "bucket"


@dataclass(kw_only=True)
class StorageServer:
    """A running server, and the knobs of its faults.

    `num_requests` counts by kind ("list", "read", "write", "delete"), those that failed on purpose
    included; `num_conflicts` counts creations that were refused because the name was taken.
    """

    protocol: ClassVar[str]
    scheme: ClassVar[str]

    port: int = 0
    latency_seconds: float = 0.0
    num_conflicts: int = 0
    num_requests: Counter[str] = field(default_factory=Counter)
    working: threading.Lock = field(default_factory=threading.Lock)
    _failures: list[int] = field(default_factory=list)
    _num_lost: int = 0
    _counting: threading.Lock = field(default_factory=threading.Lock)

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def url(self, path: str) -> str:
        """The URL of a path in the bucket; good in this process while the server runs, and in
        processes that have `environment()`."""
        return f"{self.scheme}://{BUCKET}/{path}"

    def objects(self, path: str) -> Objects:
        """The objects under a path of the bucket."""
        fs, root = places.connect(self.url(path))
        return Objects(fs, root, url=self.url(path))

    def options(self) -> Mapping[str, str]:
        """What the protocol's file system has to be told."""
        raise NotImplementedError

    def names(self) -> set[str]:
        """The names of all objects in the bucket."""
        raise NotImplementedError

    def clear(self) -> None:
        """Empties the bucket."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """What another process needs in its environment for this to be its bucket."""
        return {f"FSSPEC_{self.protocol.upper()}": json.dumps(self.options())}

    def fail_next(self, n: int, status: int = 503) -> None:
        """The next `n` requests of any kind are answered with that HTTP status."""
        with self._counting:
            self._failures += [status] * n

    def lose_answers(self, n: int) -> None:
        """The next `n` writes are done, and nobody hears of it."""
        with self._counting:
            self._num_lost += n

    def heal(self) -> None:
        """All is well again."""
        with self._counting:
            self._failures.clear()
            self._num_lost = 0
            self.latency_seconds = 0.0

    @property
    def num_pending(self) -> int:
        """Faults that were ordered and have not happened yet."""
        with self._counting:
            return len(self._failures) + self._num_lost

    def arrived(self, kind: str) -> int | None:
        """A request has come: waits the latency; the status it is to fail with, if any."""
        with self._counting:
            self.num_requests[kind] += 1
            status = self._failures.pop() if self._failures else None
        time.sleep(self.latency_seconds)
        return status

    def loses_answer(self, kind: str) -> bool:
        """Whether the answer to this request is to be lost."""
        with self._counting:
            is_lost = kind == "write" and self._num_lost > 0
            self._num_lost -= is_lost
            return is_lost

    @contextmanager
    def known_to_fsspec(self) -> Iterator[None]:
        """The protocol's URLs of this process mean this server meanwhile."""
        before = fsspec.config.conf.get(self.protocol)
        fsspec.config.conf[self.protocol] = dict(self.options())
        try:
            yield
        finally:
            del fsspec.config.conf[self.protocol]
            if before is not None:
                fsspec.config.conf[self.protocol] = before
