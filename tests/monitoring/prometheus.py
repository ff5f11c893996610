"""A Prometheus of a test's own: on loopback, with its own port, data and configuration.

It scrapes what the committed PodMonitors name, each endpoint where this machine serves it, with the
labels that an operator's targets have, and evaluates the committed alerts; every two seconds, so
that a run of a minute leaves a history. `PROGRAM` is None where Debian's package `prometheus` is
not installed.
"""

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.clusters import ROOT, free_ports, wait_for_answer

PROGRAM = shutil.which("prometheus")
INTERVAL = "2s"
MONITORING = ROOT / "k8s" / "monitoring"
_UP_SECONDS = 30
_DOWN_SECONDS = 20

Targets = Mapping[tuple[str, str], str]
"""Address by PodMonitor and port: ("dreambatch-head", "metrics") is 127.0.0.1:8080, say."""

Labels = dict[str, str]
Series = list[tuple[Labels, list[tuple[float, float]]]]
"""Labels, and (Unix time, value) of each sample."""


@dataclass(frozen=True)
class Prometheus:
    """A running one, by its address."""

    url: str

    def call(self, path: str, **parameters: str | float) -> Any:
        """`data` of an answer of its API. ValueError with its words where it refuses."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error)["error"]) from None

    def at(self, expression: str, moment: float) -> list[tuple[Labels, float]]:
        """An instant query's vector."""
        found = self.call("query", query=expression, time=moment)["result"]
        return [(each["metric"], float(each["value"][1])) for each in found]

    def number(self, expression: str, moment: float) -> float:
        """An instant query that gives one number."""
        ((_, value),) = self.at(expression, moment)
        return value

    def range(self, expression: str, start: float, end: float) -> Series:
        """A range query, second by second; of a scalar, one series without labels."""
        found = self.call("query_range", query=expression, start=start, end=end, step=1)["result"]
        return [
            (each["metric"], [(moment, float(value)) for moment, value in each["values"]])
            for each in found
        ]

    def samples(self, selector: str, seconds: int, moment: float) -> Series:
        """The very samples that were scraped in the seconds before a moment."""
        found = self.call("query", query=f"{selector}[{seconds}s]", time=moment)["result"]
        return [
            (each["metric"], [(then, float(value)) for then, value in each["values"]])
            for each in found
        ]


@contextmanager
def serve(directory: Path, targets: Targets) -> Iterator[Prometheus]:
    """Runs one in an empty directory; ended by a signal to its own process."""
    assert PROGRAM is not None
    (port,) = free_ports(1)
    configuration, log = directory / "prometheus.yaml", directory / "prometheus.log"
    (directory / "rules.yaml").write_text(yaml.safe_dump(rules()))
    configuration.write_text(yaml.safe_dump(_configuration(targets)))
    command = [
        PROGRAM,
        f"--config.file={configuration}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as found:
        try:
            wait_for_answer(f"{url}/-/ready", found, log, _UP_SECONDS)
            yield Prometheus(url)
        finally:
            found.terminate()
            try:
                found.wait(timeout=_DOWN_SECONDS)
            except subprocess.TimeoutExpired:
                found.kill()


def rules() -> dict[str, Any]:
    """The groups of the committed PrometheusRule, as a file of Prometheus' own."""
    return yaml.safe_load((MONITORING / "rules.yaml").read_text())["spec"]


def _configuration(targets: Targets) -> dict[str, Any]:
    monitors = list(yaml.safe_load_all((MONITORING / "podmonitors.yaml").read_text()))
    scraped = [
        _scraped(monitor["metadata"]["name"], endpoint, targets)
        for monitor in monitors
        for endpoint in monitor["spec"]["podMetricsEndpoints"]
    ]
    assert len(scraped) == len(targets), "a target that no PodMonitor names"
    return {
        "global": {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL},
        "rule_files": ["rules.yaml"],
        "scrape_configs": scraped,
    }


def _scraped(monitor: str, endpoint: Mapping[str, Any], targets: Targets) -> dict[str, Any]:
    """What an operator makes of an endpoint, with one pod behind it."""
    port = endpoint["port"]
    labels = {
        "namespace": "live",
        "pod": monitor,
        "container": f"ray-{monitor.rpartition('-')[2]}",
        "endpoint": port,
        "ray_io_cluster": "live",
    }
    return {
        "job_name": f"live/{monitor}/{port}",
        "metric_relabel_configs": endpoint.get("metricRelabelings", []),
        "static_configs": [{"targets": [targets[monitor, port]], "labels": labels}],
    }
