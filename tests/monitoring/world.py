"""A small world under watch: a head without work, a machine with two actors, Prometheus, two runs
and an evaluation.

    job      the demo's manifest, submitted as the guide says it
    mishaps  ten assets of two prompts, one row that is rejected, one prompt that is quarantined:
             its recipe's learning rate is no float32, so that every scene becomes NaN
    scored   the assets of the second, by the judge that comes with the package, at its address

All with the real engine and the real weights, in few steps. The machines find no `pipeline` and no
`engine` but one that refuses to be imported: what runs is what travelled.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from engine import recipes
from tests import clusters
from tests.clusters import Head
from tests.monitoring import prometheus, submission
from tests.monitoring.prometheus import Labels, Prometheus, Targets
from tests.pipeline.runs import summary, write_manifest

NUM_ACTORS = 2
_NUM_CPUS = NUM_ACTORS + 1  # the text encoder has one to itself
_WRONG = "raise ImportError('this is not the package that was sent along')\n"
_DEMO = "pipeline/examples/demo.parquet"
_TARGET_LABELS = {"namespace", "pod", "container", "endpoint", "ray_io_cluster", "instance", "job"}
PATIENCE_SECONDS = 400
"""For each of the runs and the evaluation."""
_NUM_SEEDS = 5
"""Enough for both actors, also where one of them loads later than the other."""
_NO_FLOAT = 1e39
"""More than a float32 holds."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run that has ended: where its dataset is, what was said, when it was scraped first and
    last."""

    output: Path
    said: str
    run_id: str
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Scored:
    """An evaluation that has ended: what was said, when it began and ended."""

    said: str
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class World:
    """What is left of it for tests to ask."""

    prometheus: Prometheus
    targets: Targets
    head: Head
    job: Run
    mishaps: Run
    scored: Scored

    @cached_property
    def runs(self) -> dict[str, Run]:
        """Both, by name."""
        return {"job": self.job, "mishaps": self.mishaps}

    def last(self, run: Run) -> dict[str, float]:
        """The driver's last samples of a run, as a scrape has them, by name and labels."""
        found = self.prometheus.samples('{endpoint="job-metrics"}', 3, run.end)
        return {_key(labels): samples[-1][1] for labels, samples in found}


@dataclass(frozen=True, kw_only=True)
class Watched:
    """The machines, and Prometheus, which expects a driver at `job_port`."""

    directory: Path
    machine: subprocess.Popen[bytes]
    prometheus: Prometheus
    targets: Targets
    head: Head
    job_port: int
    patience: int
    """Seconds that a run or an evaluation may take."""

    def submit(self, name: str, manifest: object, recipe: object) -> Run:
        """Has a run made as the guide says it, to its end."""
        output = self.directory / name
        values = {"--manifest": manifest, "--output": output, "--gpus": NUM_ACTORS}
        more = ("--recipe", recipe, "--metrics-port", self.job_port)
        words = submission.guide_words()
        said = submission.submitted(words, self.head, values, *more, patience=self.patience)
        run_id = str(summary(output)["run_id"])
        ((_, samples),) = self.prometheus.samples(
            f'dreambatch_run_info{{run_id="{run_id}"}}', self.patience, time.time()
        )
        return Run(output=output, said=said, run_id=run_id, start=samples[0][0], end=samples[-1][0])

    def evaluate(self, output: Path) -> Scored:
        """Has the assets of an output scored, to the end."""
        start = time.time()
        words = ["evaluate", "--output", output, "--metrics-port", self.job_port]
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", *map(str, words)],
            cwd=clusters.ROOT,
            capture_output=True,
            text=True,
            timeout=self.patience,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        return Scored(said=said, start=start, end=time.time())


@contextmanager
def watch(directory: Path, *, patience: int) -> Iterator[Watched]:
    """Builds the machines and Prometheus, and ends them."""
    (directory / "prometheus").mkdir()
    worker_port, job_port = clusters.free_ports(2)
    with (
        clusters.head(num_cpus=0, environment=_machine_environment(directory)) as head,
        clusters.worker_machine(
            head, num_cpus=_NUM_CPUS, num_gpus=NUM_ACTORS, metrics_port=worker_port
        ) as machine,
    ):
        targets = _targets(head, worker_port, job_port)
        with prometheus.serve(directory / "prometheus", targets) as found:
            yield Watched(
                directory=directory,
                machine=machine,
                prometheus=found,
                targets=targets,
                head=head,
                job_port=job_port,
                patience=patience,
            )


@contextmanager
def serve(directory: Path) -> Iterator[World]:
    """Builds it, lets both runs happen, and keeps Prometheus and the cluster until the end."""
    with watch(directory, patience=PATIENCE_SECONDS) as watched:
        job, mishaps = watched.submit("demo", _DEMO, "smoke"), _mishaps(watched)
        yield World(
            prometheus=watched.prometheus,
            targets=watched.targets,
            head=watched.head,
            job=job,
            mishaps=mishaps,
            scored=watched.evaluate(mishaps.output),
        )


def hopeless(directory: Path) -> Path:
    """A recipe like `smoke` with which every scene becomes NaN."""
    smoke = recipes.get("smoke")
    rates = replace(smoke.optimiser, lr=(_NO_FLOAT, _NO_FLOAT))
    (path := directory / "hopeless.json").write_text(
        json.dumps(replace(smoke, name="hopeless", optimiser=rates).to_dict())
    )
    return path


def _mishaps(watched: Watched) -> Run:
    manifest = write_manifest(
        watched.directory / "mishaps.parquet",
        ["a red ball", "", "a blue cube", "a green cone"],
        recipe=["smoke", "smoke", "smoke", None],
        num_seeds=[_NUM_SEEDS, 1, _NUM_SEEDS, 1],
    )
    return watched.submit("mishaps", manifest, hopeless(watched.directory))


def _machine_environment(directory: Path) -> dict[str, str]:
    for package in ("pipeline", "engine"):
        (directory / "wrong" / package).mkdir(parents=True)
        (directory / "wrong" / package / "__init__.py").write_text(_WRONG)
    return {
        "PYTHONPATH": str(directory / "wrong"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        # Ray's own ten seconds would leave a run of a minute with few samples.
        "RAY_metrics_report_interval_ms": "1000",
    }


def _targets(head: Head, worker_port: int, job_port: int) -> Targets:
    return {
        ("dreambatch-head", "job-metrics"): f"127.0.0.1:{job_port}",
        ("dreambatch-head", "metrics"): head.metrics_url.split("/")[2],
        ("dreambatch-head", "as-metrics"): head.autoscaler_metrics,
        ("dreambatch-head", "dash-metrics"): head.dashboard_metrics,
        ("dreambatch-worker", "metrics"): f"127.0.0.1:{worker_port}",
    }


def _key(labels: Labels) -> str:
    own = {name: value for name, value in labels.items() if name not in _TARGET_LABELS}
    name = own.pop("__name__")
    inside = ",".join(f'{label}="{value}"' for label, value in sorted(own.items()))
    return f"{name}{{{inside}}}" if inside else name
