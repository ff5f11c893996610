"""A Google Cloud Storage in this process: the part of its JSON API that gcsfs uses for a dataset.

Objects live in memory and appear in one indivisible step: uploads of one request (gcsfs sends more
than 50 MB in chunks, which this cannot take) with `ifGenerationMatch=0` (create if absent), ranged
downloads, listings by prefix and delimiter in pages, and deletion. `lose_answers` makes the next
uploads succeed and answer 503 all the same.
"""

import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

PAGE_SIZE = 50


@dataclass
class FakeGcs:
    """The server's state; names are `bucket/key`."""

    port: int
    objects: dict[str, bytes] = field(default_factory=dict)
    lose_answers: int = 0
    num_conflicts: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> Mapping[str, str]:
        """What another process needs in its environment for its `gs://` to be this server."""
        return {
            "STORAGE_EMULATOR_HOST": self.url,
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
            "FSSPEC_GCS_TOKEN": "anon",
            "FSSPEC_GCS_PROJECT": "test",
        }

    def filesystem(self) -> Any:
        """gcsfs on this server, as `places.connect` would open it."""
        from gcsfs.core import GCSFileSystem

        return GCSFileSystem(
            endpoint_url=self.url,
            token="anon",
            project="test",
            use_listings_cache=False,
            skip_instance_cache=True,
        )

    def put(self, name: str, data: bytes, *, create: bool) -> int:
        """Store an object; the HTTP status of the answer."""
        with self.lock:
            if create and name in self.objects:
                self.num_conflicts += 1
                return 412
            self.objects[name] = data
            if self.lose_answers:
                self.lose_answers -= 1
                return 503
            return 200


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    state: FakeGcs

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client may hang up when it has seen enough; anything else is a bug of this file."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serve() -> Iterator[FakeGcs]:
    """A running server on a free port of this machine."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.state = FakeGcs(port=server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.state
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def state(self) -> FakeGcs:
        return cast(_Server, self.server).state

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the tests' output free of requests."""

    def do_GET(self) -> None:
        bucket, key, query = self._target()
        if not key:
            self._json(200, self._listing(bucket, query))
            return
        data = self.state.objects.get(f"{bucket}/{key}")
        if data is None:
            self._json(404, _error(404))
        elif query.get("alt") == "media":
            self._download(data)
        else:
            self._json(200, _resource(bucket, key, data))

    def do_DELETE(self) -> None:
        bucket, key, _ = self._target()
        with self.state.lock:
            data = self.state.objects.pop(f"{bucket}/{key}", None)
        self._answer(404 if data is None else 204, b"")

    def do_POST(self) -> None:
        bucket, _, query = self._target()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        create = query.get("ifGenerationMatch") == "0"
        assert query["uploadType"] == "multipart", query
        head, rest = body.split(b"\n\n", 2)[1:]
        key = json.loads(head.split(b"\n--==0==")[0])["name"]
        data = rest.removesuffix(b"\n--==0==--")
        status = self.state.put(f"{bucket}/{key}", data, create=create)
        self._json(status, _resource(bucket, key, data) if status == 200 else _error(status))

    def _target(self) -> tuple[str, str, dict[str, str]]:
        """Bucket, key and query of `[/upload|/download]/storage/v1/b/<bucket>/o/<key>`."""
        parts = urlsplit(self.path)
        bucket, _, key = parts.path.split("/b/", 1)[1].partition("/o")
        return unquote(bucket), unquote(key.removeprefix("/")), dict(parse_qsl(parts.query))

    def _listing(self, bucket: str, query: dict[str, str]) -> dict[str, Any]:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        with self.state.lock:
            objects = {
                name.removeprefix(f"{bucket}/"): data
                for name, data in self.state.objects.items()
                if name.startswith(f"{bucket}/{prefix}")
            }
        found: dict[str, bytes | None] = {}
        for key, data in sorted(objects.items()):
            head, mark, _ = key.removeprefix(prefix).partition(delimiter or "\0")
            found[f"{prefix}{head}{mark}" if mark else key] = None if mark else data
        start = int(query.get("pageToken", 0))
        page = list(found.items())[start : start + PAGE_SIZE]
        answer: dict[str, Any] = {
            "items": [_resource(bucket, key, data) for key, data in page if data is not None],
            "prefixes": [key for key, data in page if data is None],
        }
        if start + PAGE_SIZE < len(found):
            answer["nextPageToken"] = str(start + PAGE_SIZE)
        return answer

    def _download(self, data: bytes) -> None:
        ranged = self.headers.get("Range")
        if ranged is None:
            self._answer(200, data)
            return
        first, last = ranged.removeprefix("bytes=").split("-")
        start = int(first) if first else max(0, len(data) - int(last))
        stop = min(len(data), int(last) + 1) if first and last else len(data)
        self._answer(
            206, data[start:stop], {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"}
        )

    def _json(self, status: int, document: dict[str, Any]) -> None:
        self._answer(status, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _resource(bucket: str, key: str, data: bytes) -> dict[str, Any]:
    return {
        "kind": "storage#object",
        "bucket": bucket,
        "name": key,
        "size": str(len(data)),
        "generation": "1",
        "updated": "2026-01-01T00:00:00Z",
        "timeCreated": "2026-01-01T00:00:00Z",
    }


def _error(status: int) -> dict[str, Any]:
    return {"error": {"code": status, "message": f"answer {status}"}}
