"""Every metric: its name, unit, labels and buckets, in one place; free of ray.

Owner *driver*: the job's truth, served by the driver itself on `--metrics-port` and repeated in
`summary.json`. Owner *actor*: timings of one process, exported by Ray, which puts `ray_` in front
and loses the last ones of a process that is killed; they explain, they do not count.

Base units (seconds, bytes). No label holds a prompt, an asset id or anything else without bound.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from pipeline import retry
from pipeline.scrapes import Scraped

PREFIX = "dreambatch_"

_LAST_SCRAPES = 2

_OUTCOMES = ("committed", "duplicate", "failed", "lost", "preempted")
_RESULTS = ("ok", "passing", "full", "refused")

_ASSET_BUCKETS = (5, 15, 30, 60, 90, 120, 180, 240, 300, 420, 600, 900, 1800, 3600)
_STAGE_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
_STORE_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)
_LOOP_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)
_PART_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)
_LOSS_BOUNDS = tuple(float(f"{digit}e{k}") for k in range(-6, 7) for digit in (1, 3))
_LOSS_BUCKETS = (*(-float(f"1e{k}") for k in range(6, -4, -1)), 0.0, *_LOSS_BOUNDS)
"""SDS's term is a product of a gradient and a picture, of either sign; regularisers are not
negative."""
_OPACITY_BUCKETS = (0.005, 0.01, 0.02, 0.05, *(k / 20 for k in range(2, 20)), 0.99, 1.0)
_FACE_BUCKETS = (30, 100, 300, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 300_000, 1e6)
_SCORE_BUCKETS = tuple(k / 20 for k in range(-20, 21))


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

    def num_series(self, numbers: Mapping[str, int]) -> int:
        """Series of one process at most; `numbers` says how many values a label takes where that is
        not known here.

        A gauge has one for each combination of its labels' values, a counter another one for the
        moment it was made, a histogram one a bucket, one for what is above, and those of sum, count
        and moment. Ray keeps no moments, prometheus_client no sum where values may be negative.
        """
        combined = prod(len(values) or numbers[name] for name, values in self.labels.items())
        has_moment = self.kind != "gauge" and self.owner == "driver"
        if self.kind != "histogram":
            return combined * (1 + has_moment)
        has_sum = self.buckets[0] >= 0
        return combined * (len(self.buckets) + 2 + has_sum + has_moment)


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
            labels={"kind": tuple(retry.TABLE)},
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
            name="steps_per_second",
            kind="gauge",
            help="Optimisation steps of scenes a second, over all actors: a step of a gang counts "
            "once for each scene in it.",
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
            name="asset_loss",
            kind="histogram",
            help="Last value of each loss of a committed asset, weighted as its recipe says. It "
            "may be negative, so that there is no sum.",
            labels={"loss": ()},
            buckets=_LOSS_BUCKETS,
        ),
        Metric(
            name="asset_opacity",
            kind="histogram",
            help="Mean opacity of the exported views of a committed asset, 0 to 1.",
            buckets=_OPACITY_BUCKETS,
        ),
        Metric(
            name="asset_mesh_faces",
            kind="histogram",
            help="Triangles of the mesh of a committed asset; empty meshes are left out.",
            buckets=_FACE_BUCKETS,
        ),
        Metric(
            name="meshes_total",
            kind="counter",
            help="Committed assets by what came of their mesh. empty: no surface was found.",
            labels={"status": ("ok", "empty")},
        ),
        Metric(
            name="asset_score",
            kind="histogram",
            help="Quality of an asset by each score, about -1 to 1. It may be negative, so that "
            "there is no sum.",
            labels={"score": ()},
            buckets=_SCORE_BUCKETS,
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
            labels={"operation": (), "result": _RESULTS},
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
        Metric(
            name="actor_step_part_seconds",
            kind="histogram",
            owner="actor",
            unit="seconds",
            help="Time of the device in the parts of one step of the whole gang. unet: forwards of "
            "the diffusion model. vae: its image encoder, if it has one, both ways. "
            "field: rendering and its gradient. other: all else.",
            labels={"part": ("unet", "vae", "field", "other")},
            buckets=_PART_BUCKETS,
        ),
    )
}


class JobMetrics:
    """The driver's metrics in a registry of their own; every known label value starts at 0."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry = CollectorRegistry()
        self._server: WSGIServer | None = None
        self._children: dict[tuple[str, tuple[tuple[str, str], ...]], Any] = {}
        self._metrics: dict[str, Any] = {
            name: _build(metric, self._registry)
            for name, metric in METRICS.items()
            if metric.owner == "driver"
        }
        self._scraped = Scraped(self._registry, clock=clock)

    def declare(self, name: str, **labels: str) -> None:
        """Shows a series at 0, so that a rate sees what comes first."""
        self._child(name, labels)

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
        """One operation on the output; an observer of `Objects`.

        With the first of a kind all its results are there, so that a rate sees the first error.
        """
        for known in _RESULTS:
            self.declare("store_operations_total", operation=operation, result=known)
        self.add("store_operations_total", operation=operation, result=result)
        self.observe("store_operation_seconds", seconds, operation=operation)

    def totals(self) -> dict[str, float]:
        """Counters, gauges, and sums and counts of histograms, by their full names and labels."""
        return {
            _key(sample.name, sample.labels): sample.value
            for family in self._scraped.families()
            for sample in family.samples
            if not sample.name.endswith(("_created", "_bucket"))
        }

    def freeze(self) -> None:
        """Shows for ever what is true now: totals that were written down do not change, whatever is
        still counted."""
        self._scraped.freeze()

    def serve(self, port: int) -> int:
        """Serves /metrics from a thread on all interfaces and returns the port (0: any free one).

        Raises OSError when the port is taken.
        """
        served = CollectorRegistry()
        served.register(self._scraped)
        server, _ = start_http_server(port, registry=served)
        self._server = server
        return server.server_port

    def expose(self, wanted: int, say: Callable[[str], None]) -> None:
        """Serves, and says where; a port that is taken costs a warning, not the work."""
        try:
            port = self.serve(wanted)
        except OSError as error:
            port = self.serve(0)
            reason = error.strerror or error
            say(f"warning: metrics port {wanted} cannot be used ({reason}), another is taken")
        say(f"metrics at http://localhost:{port}/metrics")

    def linger(self) -> None:
        """Waits for two more scrapes, so that a watcher sees the end; not if nobody watches.

        For each at most two intervals between scrapes, and `scrapes.MAX_PAUSE_SECONDS`.
        """
        enough = self._scraped.num_scrapes + _LAST_SCRAPES
        while self._scraped.num_scrapes < enough and self.is_watched():
            time.sleep(0.05)

    def see_out(self, say: Callable[[str], None]) -> None:
        """Lingers, and says so. All is written by then: Ctrl-C ends nothing but this."""
        if self.is_watched():
            say("metrics stay for two more scrapes; Ctrl-C ends now")
            with suppress(KeyboardInterrupt):
                self.linger()

    def is_watched(self) -> bool:
        """Whether somebody has scraped, and will again."""
        return self._scraped.is_watched()

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
