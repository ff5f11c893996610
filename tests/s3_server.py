"""An S3 in this process: moto's server, with faults on demand.

moto enforces `If-None-Match: *`, but looks and writes in two steps; here a request that changes
something is one step, as on the real one.
"""

import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.storage_server import BUCKET, StorageServer

_Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
_KINDS = {"PUT": "write", "POST": "write", "DELETE": "delete"}
_CODES = {403: "AccessDenied", 429: "TooManyRequests", 503: "SlowDown"}


@dataclass(kw_only=True)
class S3Server(StorageServer):
    """A running server, with one bucket. As WSGI, it is moto's application behind the faults."""

    protocol = "s3"
    scheme = "s3"

    application: _Wsgi

    def options(self) -> dict[str, str]:
        return {"endpoint_url": self.endpoint, "key": "test", "secret": "test"}

    def names(self) -> set[str]:
        return set(_backend().buckets[BUCKET].keys)

    def clear(self) -> None:
        with self.working:
            _backend().buckets[BUCKET].keys.clear()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """One request. ConnectionAbortedError where its answer is to be lost: werkzeug hangs up."""
        kind = _kind(environ)
        status = self.arrived(kind)
        if status is not None:
            start(f"{status} Fault", [("Content-Type", "application/xml")])
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [_error(status)]
        with nullcontext() if kind in ("list", "read") else self.working:
            answer = list(self.application(environ, self._watched(start)))
        if self.loses_answer(kind):
            raise ConnectionAbortedError
        return answer

    def _watched(self, start: Callable[..., Any]) -> Callable[..., Any]:
        def started(status: str, *rest: Any) -> Any:
            self.num_conflicts += status.startswith("412")
            return start(status, *rest)

        return started


@contextmanager
def serve() -> Iterator[S3Server]:
    """A server on a free port of this machine; `s3://` in this process is its bucket meanwhile."""
    server = S3Server(application=DomainDispatcherApplication(create_backend_app))
    _backend().reset()
    http = make_server("127.0.0.1", 0, server, threaded=True, request_handler=_Handler)
    server.port = http.server_port
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    try:
        urllib.request.urlopen(
            urllib.request.Request(f"{server.endpoint}/{BUCKET}", method="PUT"), timeout=30
        ).close()
        server.num_requests.clear()
        with server.known_to_fsspec():
            yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
        _backend().reset()


class _Handler(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """Keeps the tests' output free of requests."""

    def connection_dropped(self, error: BaseException, environ: Any = None) -> None:
        """Without an answer the connection has to end, or the client waits for one."""
        self.close_connection = True


def _backend() -> Any:
    return s3_backends["123456789012"]["aws"]


def _kind(environ: Mapping[str, Any]) -> str:
    method = environ["REQUEST_METHOD"]
    if method == "GET" and "list-type=" in environ.get("QUERY_STRING", ""):
        return "list"
    return _KINDS.get(method, "read")


def _error(status: int) -> bytes:
    code = _CODES.get(status, "InternalError")
    return f"<Error><Code>{code}</Code><Message>answer {status}</Message></Error>".encode()
