"""A small Prometheus on loopback: it answers range queries with figures made up from their text."""

import json
import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

RUNS = {"20260101T000000-old": "a:1", "20260102T000000-new": "b:2"}
"""Where the driver of each run was scraped."""

_BOUNDS = ("0.1", "0.5", "1.0", "5000.0", "+Inf")


@dataclass
class FakePrometheus:
    """`asked` is every query with its arguments; `refusal` is said instead of an answer."""

    url: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)
    refusal: tuple[int, str] | None = None
    is_empty: bool = False

    def answer(self, said: dict[str, str]) -> tuple[int, str]:
        self.asked.append(said)
        if self.refusal is not None:
            return self.refusal
        found = [] if self.is_empty else list(series(said["query"], *_times(said)))
        return 200, json.dumps({"status": "success", "data": {"result": found}})


def _times(said: dict[str, str]) -> tuple[float, float, float]:
    return float(said["start"]), float(said["end"]), float(said["step"])


def series(query: str, start: float, end: float, step: float) -> Iterator[dict[str, Any]]:
    """What Prometheus would call `result`."""
    times = [start + k * step for k in range(math.floor((end - start) / step) + 1)]
    for number, labels in enumerate(labels_of(query)):
        values = [(1 + number) * (2 + math.sin(k / 9)) for k in range(len(times))]
        if "le" in labels:
            values = [float(number * (k % 3)) for k in range(len(times))]
        yield {
            "metric": labels,
            "values": [[t, f"{v:.6g}"] for t, v in zip(times, values, strict=True)],
        }


def labels_of(query: str) -> list[dict[str, str]]:
    """The labels of the series that a query has: runs, buckets, or two of what it sums by."""
    if query.startswith("dreambatch_run_info"):
        chosen = re.findall(r'run_id="([^"]*)"', query)
        known = [{"run_id": run, "instance": where} for run, where in RUNS.items()]
        return [labels for labels in known if not chosen or labels["run_id"] in chosen]
    if "histogram_quantile" not in query and "by (le)" in query:
        return [{"le": bound} for bound in _BOUNDS]
    by = re.search(r"by \(([^)]*)\)", query)
    names = [name for name in re.findall(r"\w+", by[1]) if name != "le"] if by else []
    if not names:
        return [{}]
    return [{name: f"{name}{number}" for name in names} for number in range(2)]


@contextmanager
def serving() -> Iterator[FakePrometheus]:
    """The server, until the block ends."""
    fake = FakePrometheus()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            where = urlsplit(self.path)
            assert where.path == "/api/v1/query_range"
            code, text = fake.answer({k: v for k, (v,) in parse_qs(where.query).items()})
            self.send_response(code)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
