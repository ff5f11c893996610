"""Range queries of a Prometheus, by its HTTP API."""

import http.client
import json
import math
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.errors import UserError

TIMEOUT_SECONDS = 30.0
MOST_POINTS = 11_000
"""Prometheus refuses more of one series."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """A range of time, in Unix seconds, and how often Prometheus scrapes."""

    start: float
    end: float
    scrape_seconds: float = 15.0

    def step(self, num_points: int) -> float:
        """Seconds between so many points; not below those between two scrapes."""
        return max((self.end - self.start) / num_points, self.scrape_seconds)

    def rate_interval(self, num_points: int) -> str:
        """Grafana's `$__rate_interval`: four scrapes at least, so that a rate has two points."""
        scrape = self.scrape_seconds
        return f"{math.ceil(max(self.step(num_points) + scrape, 4 * scrape) * 1000)}ms"


@dataclass(frozen=True, kw_only=True)
class Series:
    """Values of one set of labels at Unix seconds; NaN where Prometheus says NaN."""

    labels: Mapping[str, str]
    times: tuple[float, ...]
    values: tuple[float, ...]


Query = Callable[[str, Span, float], list[Series]]
"""The series of an expression over a span, at steps of so many seconds."""


def query(url: str) -> Query:
    """Queries of the Prometheus at `url`. They raise UserError where it does not answer them."""
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"--prometheus {url!r}: expected such as http://localhost:9090")

    def ask(expression: str, span: Span, step: float) -> list[Series]:
        said = {"query": expression, "start": span.start, "end": span.end, "step": step}
        found = _get(f"{url.rstrip('/')}/api/v1/query_range?{urllib.parse.urlencode(said)}", url)
        return [_series(result) for result in found["result"]]

    return ask


def _series(result: Mapping) -> Series:
    times, values = zip(*result["values"], strict=True)
    return Series(
        labels=result["metric"],
        times=tuple(map(float, times)),
        values=tuple(map(float, values)),
    )


def _get(address: str, url: str) -> Mapping:
    """The data of an answer."""
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        with error:
            raise UserError(f"--prometheus {url}: {_complaint(error)}") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise UserError(f"--prometheus {url}: no answer ({reason})") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"--prometheus {url}: what answers is no Prometheus") from None


def _complaint(error: urllib.error.HTTPError) -> str:
    """Prometheus' own words, if they are to be had."""
    try:
        return json.loads(error.read())["error"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"HTTP {error.code}"
