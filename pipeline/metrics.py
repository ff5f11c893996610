"""Every metric: its name, unit, labels and buckets, in one place; free of ray.

Owner *driver*: the job's truth, served by the driver itself on `--metrics-port` and repeated in
`summary.json`. Owner *actor*: timings of one process, exported by Ray, which puts `ray_` in front
and loses the last ones of a process that is killed; they explain, they do not count.

Base units (seconds, bytes). No label holds a prompt, an asset id or anything else without bound.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.registry import Collector

from pipeline import retry

PREFIX = "dreambatch_"
MAX_LINGER_SECONDS = 60.0

_OUTCOMES = ("committed", "duplicate", "failed", "lost", "preempted")

_ASSET_BUCKETS = (5, 15, 30, 60, 90, 120, 180, 240, 300, 420, 600, 900, 1800, 3600)
_STAGE_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
_STORE_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)
_LOOP_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric. `labels` maps each label to the values it takes; () when they are not known."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    owner: Literal["driver", "actor"] = "driver"
    unit: Literal["", "seconds", "bytes"] = ""
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()

    @property
    def full_name(self) -> str:
        """The name in a query; the series of a histogram add _bucket, _sum and _count."""
        return f"{'ray_' if self.owner == 'actor' else ''}{PREFIX}{self.name}"


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="assets_total",
            kind="counter",
            help="Assets that reached an end. skipped: committed before this run.",
            labels={"status": ("committed", "duplicate", "quarantined", "rejected", "skipped")},
        ),
        Metric(
            name="attempts_total",
            kind="counter",
            help="Attempts that ended. lost: their actor or its gang went away under them. "
            "preempted: their actor was asked to leave.",
            labels={"outcome": _OUTCOMES},
        ),
        Metric(
            name="retries_total",
            kind="counter",
            help="Attempts that were ordered again, by the kind of the error before.",
            labels={"kind": ()},
        ),
        Metric(
            name="queue",
            kind="gauge",
            help="Assets that are not finished. suspect: will run alone after a death.",
            labels={"state": ("waiting", "suspect", "running")},
        ),
        Metric(
            name="slots",
            kind="gauge",
            help="Slots of all gangs. down: their actor is starting or recovering.",
            labels={"state": ("busy", "free", "down")},
        ),
        Metric(
            name="actors",
            kind="gauge",
            help="Actors. coming: starting or recovering. leaving: out of reach or asked to stop, "
            "with prompts of which nothing is known yet.",
            labels={"state": ("ready", "coming", "leaving")},
        ),
        Metric(
            name="actors_lost_total",
            kind="counter",
            help="Actors that went away: their process died, their machine did, or they hung.",
            labels={"cause": ("process", "node", "hung")},
        ),
        Metric(
            name="stuck_seconds",
            kind="gauge",
            unit="seconds",
            help="The longest time for which an actor with work has not moved.",
        ),
        Metric(
            name="asset_seconds",
            kind="histogram",
            unit="seconds",
            help="Wall time of a committed asset, from its first order to its commit.",
            buckets=_ASSET_BUCKETS,
        ),
        Metric(
            name="stage_seconds",
            kind="histogram",
            unit="seconds",
            help="Wall time of one stage of one committed asset.",
            labels={"stage": ("wait", "optimise", "export", "commit")},
            buckets=_STAGE_BUCKETS,
        ),
        Metric(
            name="gpu_seconds_total",
            kind="counter",
            unit="seconds",
            help="Device time by what became of it; of lost attempts an estimate.",
            labels={"outcome": _OUTCOMES},
        ),
        Metric(
            name="wasted_gpu_seconds_total",
            kind="counter",
            unit="seconds",
            help="Device time that gave no asset, by cause: duplicate, or the kind of the failure.",
            labels={"cause": ("duplicate", *retry.TABLE)},
        ),
        Metric(
            name="output_bytes_total",
            kind="counter",
            unit="bytes",
            help="Bytes of committed assets.",
        ),
        Metric(
            name="commit_conflicts_total",
            kind="counter",
            help="Finished assets that another run had committed first.",
        ),
        Metric(
            name="last_commit_timestamp_seconds",
            kind="gauge",
            unit="seconds",
            help="Unix time of the newest commit; 0 before the first.",
        ),
        Metric(
            name="store_operations_total",
            kind="counter",
            help="Operations of the driver on the output, by what came of them.",
            labels={"operation": (), "result": ()},
        ),
        Metric(
            name="store_operation_seconds",
            kind="histogram",
            unit="seconds",
            help="Time of one operation of the driver on the output.",
            labels={"operation": ()},
            buckets=_STORE_BUCKETS,
        ),
        Metric(
            name="driver_loop_seconds",
            kind="histogram",
            unit="seconds",
            help="CPU time of one turn of the driver's loop.",
            buckets=_LOOP_BUCKETS,
        ),
        Metric(
            name="run_info",
            kind="gauge",
            help="Always 1; its labels say which run this is.",
            labels={"run_id": (), "recipe": (), "guidance_digest": (), "version": ()},
        ),
        Metric(
            name="actor_stage_seconds",
            kind="histogram",
            owner="actor",
            unit="seconds",
            help="Time of one admission, one step of the whole gang, one export, one commit.",
            labels={"stage": ("admit", "step", "export", "commit")},
            buckets=_STAGE_BUCKETS,
        ),
    )
}


class JobMetrics:
    """The driver's metrics in a registry of their own; every known label value starts at 0."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._server: WSGIServer | None = None
        self._scrapes = _Scrapes()
        self.registry.register(self._scrapes)
        self._children: dict[tuple[str, tuple[tuple[str, str], ...]], Any] = {}
        self._metrics: dict[str, Any] = {
            name: _build(metric, self.registry)
            for name, metric in METRICS.items()
            if metric.owner == "driver"
        }

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Counts a counter up."""
        self._child(name, labels).inc(amount)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Sets a gauge."""
        self._child(name, labels).set(value)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Puts a value into a histogram."""
        self._child(name, labels).observe(value)

    def note_operation(self, operation: str, result: str, seconds: float) -> None:
        """One operation on the output; an observer of `Objects`."""
        self.add("store_operations_total", operation=operation, result=result)
        self.observe("store_operation_seconds", seconds, operation=operation)

    def totals(self) -> dict[str, float]:
        """Counters, gauges, and sums and counts of histograms, by their full names and labels."""
        return {
            _key(sample.name, sample.labels): sample.value
            for metric in self._metrics.values()
            for family in metric.collect()
            for sample in family.samples
            if not sample.name.endswith(("_created", "_bucket"))
        }

    def serve(self, port: int) -> int:
        """Serves /metrics from a thread on all interfaces and returns the port (0: any free one).

        Raises OSError when the port is taken.
        """
        self._server, _ = start_http_server(port, registry=self.registry)
        return self._server.server_port

    def linger(self) -> None:
        """Waits for one more scrape, so that a watcher sees the end; not if nobody watches.

        At most two intervals between scrapes, and not more than `MAX_LINGER_SECONDS`.
        """
        if self._server is None or not (moments := self._scrapes.moments):
            return
        interval = moments[-1] - moments[-2] if len(moments) > 1 else MAX_LINGER_SECONDS
        end = time.monotonic() + min(2 * interval + 1, MAX_LINGER_SECONDS)
        while self._scrapes.moments is moments and time.monotonic() < end:
            time.sleep(0.05)

    def close(self) -> None:
        """Serves no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def _child(self, name: str, labels: Mapping[str, str]) -> Any:
        # prometheus_client looks children up under a lock, for half the time of an event.
        key = name, tuple(labels.items())
        child = self._children.get(key)
        if child is None:
            metric = self._metrics[name]
            child = self._children[key] = metric.labels(**labels) if labels else metric
        return child


class _Scrapes(Collector):
    """Has no metrics, and notes when it is asked for them: at every scrape."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def describe(self) -> list[Any]:
        """Nothing; the registry would ask `collect` otherwise."""
        return []

    def collect(self) -> list[Any]:
        """Nothing, at this moment."""
        self.moments = [*self.moments[-1:], time.monotonic()]
        return []


def _build(metric: Metric, registry: CollectorRegistry) -> Any:
    options: dict[str, Any] = {"labelnames": tuple(metric.labels), "registry": registry}
    if metric.kind == "histogram":
        options["buckets"] = metric.buckets
    kinds = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
    built = kinds[metric.kind](PREFIX + metric.name, metric.help, **options)
    if len(metric.labels) == 1:
        for value in next(iter(metric.labels.values())):
            built.labels(value)
    return built


def _key(name: str, labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"{name}{{{inside}}}" if inside else name
