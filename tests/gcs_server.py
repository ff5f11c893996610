"""A Google Cloud Storage in this process: `gcp-storage-emulator`, with what it lacks.

Added here: generation preconditions (the emulator overwrites whatever it is told), many requests at
once, listings in pages, the end of an upload session, uploads of any bytes (the emulator parses
them as mail, which drops a last carriage return), and faults on demand. `moveTo` is absent: nothing
of ours renames.
"""

import io
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import fsspec
from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import buckets
from gcp_storage_emulator.handlers.objects import _checksums, _make_object_resource
from gcp_storage_emulator.server import RequestHandler, Router
from gcp_storage_emulator.storage import Storage
from gcsfs.core import GCSFileSystem

from tests.storage_server import BUCKET, StorageServer

PAGE_SIZE = 1000
"""Names in one page of a listing, at most; as on the real one."""


@dataclass(kw_only=True)
class GcsServer(StorageServer):
    """A running server, with one bucket."""

    protocol = "gcs"
    scheme = "gs"

    storage: Storage

    def options(self) -> dict[str, str]:
        return {"endpoint_url": self.endpoint, "token": "anon", "project": "test"}

    def environment(self) -> dict[str, str]:
        """gcsfs's look-up of bucket kinds goes over gRPC, which no emulator answers: it is off."""
        return {**super().environment(), "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}

    def names(self) -> set[str]:
        with self.working:
            return set(self.storage.objects.get(BUCKET, {}))

    def clear(self) -> None:
        with self.working:
            self.storage.wipe(keep_buckets=True)


@contextmanager
def serve() -> Iterator[GcsServer]:
    """A server on a free port of this machine; `gs://` in this process is its bucket meanwhile."""
    for protocol in ("gs", "gcs"):
        fsspec.register_implementation(protocol, GCSFileSystem, clobber=True)
    storage = _Storage(use_memory_fs=True)
    buckets.create_bucket(BUCKET, storage)
    with _Server(("127.0.0.1", 0), partial(_Handler, storage)) as http:
        http.state = GcsServer(port=http.server_address[1], storage=storage)
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            with http.state.known_to_fsspec():
                yield http.state
        finally:
            http.shutdown()
            thread.join()


class _Storage(Storage):
    def _write_config_to_file(self) -> None:
        """Nothing: the emulator would write down all its objects at every request."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    state: GcsServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client may hang up when it has seen enough; anything else is a bug of this file."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(RequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def state(self) -> GcsServer:
        return cast(_Server, self.server).state

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the tests' output free of requests."""

    def do_GET(self) -> None:
        if urlsplit(self.path).path.endswith("/o"):
            self._serve("list", lambda _: self._list())
        else:
            self._serve("read", lambda _: Router(self).handle("GET"))

    def do_DELETE(self) -> None:
        if self.path.startswith("/upload/"):
            self._serve("delete", lambda _: self._end_session())
        else:
            self._serve("delete", lambda _: Router(self).handle("DELETE"))

    def do_POST(self) -> None:
        self._serve("write", self._write)

    do_PUT = do_POST

    def _serve(self, kind: str, work: Callable[[bytes], None]) -> None:
        """One request, with its share of faults; one after the other, so that a precondition and
        its write are one step."""
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        status = self.state.arrived(kind)
        if status is not None:
            self._json(status, _error(status))
            return
        connection = self.rfile, self.wfile
        self.rfile, self.wfile = io.BufferedReader(io.BytesIO(body)), io.BytesIO()
        try:
            with self.state.working:
                work(body)
            answer = self.wfile.getvalue()
        finally:
            self.rfile, self.wfile = connection
        if self.state.loses_answer(kind):
            self.close_connection = True
        else:
            self.wfile.write(answer)

    def _write(self, body: bytes) -> None:
        """An upload, or a part of one, if its precondition holds."""
        bucket, query = self._target()
        meta, content = {}, b""
        if query.get("uploadType") == "multipart":
            meta, content = _parts(body, self.headers["Content-Type"])
        name = query.get("name") or meta.get("name", "")
        present = self.storage.objects.get(bucket, {}).get(name, {}).get("generation", "0")
        if query.get("ifGenerationMatch", present) != present:
            self.state.num_conflicts += 1
            self._json(412, _error(412))
        elif query.get("uploadType") == "multipart" and bucket in self.storage.buckets:
            kind = "application/octet-stream"
            size = str(len(content))
            resource = _make_object_resource(self.state.endpoint, bucket, name, kind, size, meta)
            self.storage.create_file(bucket, name, content, _checksums(content, resource))
            self._json(200, resource)
        elif query.get("uploadType") == "multipart":
            self._json(404, _error(404))
        else:
            Router(self).handle(self.command)

    def _list(self) -> None:
        """One page of names and prefixes, in the order of names."""
        bucket, query = self._target()
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        try:
            objects, prefixes = self.storage.get_file_list(bucket, prefix, delimiter)
        except NotFound:
            self._json(404, _error(404))
            return
        found = {**{each["name"]: each for each in objects}, **dict.fromkeys(prefixes)}
        start = int(query.get("pageToken", 0))
        stop = start + min(PAGE_SIZE, int(query.get("maxResults", PAGE_SIZE)))
        page = sorted(found)[start:stop]
        answer: dict[str, Any] = {
            "kind": "storage#objects",
            "items": [found[name] for name in page if found[name] is not None],
            "prefixes": [name for name in page if found[name] is None],
        }
        if stop < len(found):
            answer["nextPageToken"] = str(stop)
        self._json(200, answer)

    def _end_session(self) -> None:
        """An upload in parts is given up; the real one says so with this code."""
        _, query = self._target()
        is_open = self.storage.resumable.pop(query["upload_id"], None) is not None
        self._json(499 if is_open else 404, _error(499 if is_open else 404))

    def _target(self) -> tuple[str, dict[str, str]]:
        """Bucket and query of `[/upload]/storage/v1/b/<bucket>/o...`."""
        parts = urlsplit(self.path)
        bucket = unquote(parts.path.split("/b/", 1)[1].partition("/")[0])
        return bucket, dict(parse_qsl(parts.query))

    def _json(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status, "")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _parts(body: bytes, content_type: str) -> tuple[dict[str, Any], bytes]:
    """The two parts of a multipart upload: what the object is called, and its bytes."""
    mark = b"--" + content_type.split('boundary="', 1)[1].split('"', 1)[0].encode()
    assert body.startswith(mark), body[:80]
    assert body.endswith(b"\n" + mark + b"--"), body[-80:]
    head, rest = body[len(mark) :].split(b"\n" + mark + b"\n", 1)
    content = rest.split(b"\n\n", 1)[1].removesuffix(b"\n" + mark + b"--")
    return json.loads(head.split(b"\n\n", 1)[1]), content


def _error(status: int) -> dict[str, Any]:
    return {"error": {"code": status, "message": f"answer {status}"}}
