"""Names, labels and values of the metrics, read as Prometheus reads them."""

import itertools
import math
import re
import socket
import subprocess
import sys
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.configs.losses import LossConfig
from pipeline import retry
from pipeline.metrics import METRICS, PREFIX, JobMetrics
from pipeline.settings import RunSettings
from pipeline.storage import places

ROOT = Path(__file__).parents[2]
DRIVER = [metric for metric in METRICS.values() if metric.owner == "driver"]
MOST = {
    **{"kind": 14, "loss": 7, "operation": 7, "result": 4, "score": 0},
    **{"run_id": 1, "recipe": 1, "guidance_digest": 1, "version": 1},
}
"""Values that a label takes in the driver of one run; scores are none of its business."""


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return answer.read().decode()


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_conventions(metric: object) -> None:
    from pipeline.metrics import Metric

    assert isinstance(metric, Metric)
    assert re.fullmatch(r"[a-z][a-z_]+", metric.name)
    assert metric.help.endswith(".")
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    stem = metric.name.removesuffix("_total")
    assert metric.unit == "" or stem.endswith("_" + metric.unit)
    assert not any(stem.endswith(unit) for unit in ("_ms", "_minutes", "_mb", "_percent"))
    assert (metric.kind == "histogram") == bool(metric.buckets)
    assert list(metric.buckets) == sorted(metric.buckets)
    assert set(metric.labels) <= {
        *("status", "outcome", "kind", "cause", "state", "stage", "operation", "result"),
        *("part", "loss", "score"),
        *("run_id", "recipe", "guidance_digest", "version"),
    }


def test_the_names_that_dashboards_rely_on() -> None:
    assert [metric.full_name for metric in METRICS.values()] == [
        "dreambatch_assets_total",
        "dreambatch_attempts_total",
        "dreambatch_retries_total",
        "dreambatch_queue",
        "dreambatch_slots",
        "dreambatch_actors",
        "dreambatch_actors_lost_total",
        "dreambatch_stuck_seconds",
        "dreambatch_steps_per_second",
        "dreambatch_asset_seconds",
        "dreambatch_stage_seconds",
        "dreambatch_asset_loss",
        "dreambatch_asset_opacity",
        "dreambatch_asset_mesh_faces",
        "dreambatch_meshes_total",
        "dreambatch_asset_score",
        "dreambatch_gpu_seconds_total",
        "dreambatch_wasted_gpu_seconds_total",
        "dreambatch_output_bytes_total",
        "dreambatch_commit_conflicts_total",
        "dreambatch_last_commit_timestamp_seconds",
        "dreambatch_store_operations_total",
        "dreambatch_store_operation_seconds",
        "dreambatch_driver_loop_seconds",
        "dreambatch_run_info",
        "ray_dreambatch_actor_stage_seconds",
        "ray_dreambatch_actor_step_part_seconds",
    ]
    assert RunSettings.metrics_port == 9464


def test_operations_on_the_output_are_counted() -> None:
    metrics = JobMetrics()
    for result, seconds in (("ok", 0.25), ("ok", 0.5), ("full", 1.0)):
        metrics.note_operation("create", result, seconds)
    totals = metrics.totals()
    name = "dreambatch_store_operations_total"
    assert totals[f'{name}{{operation="create",result="ok"}}'] == 2
    assert totals[f'{name}{{operation="create",result="full"}}'] == 1
    assert totals['dreambatch_store_operation_seconds_sum{operation="create"}'] == 1.75


def test_every_series_of_a_fresh_run_is_there_and_zero() -> None:
    metrics = JobMetrics()
    port = metrics.serve(0)
    try:
        found = samples(scrape(port))
    finally:
        metrics.close()
    for metric in DRIVER:
        suffix = "_count" if metric.kind == "histogram" else ""
        for label, values in metric.labels.items() if len(metric.labels) == 1 else ():
            for value in values:
                assert found[(PREFIX + metric.name + suffix, ((label, value),))] == 0.0
        if not metric.labels:
            assert found[(PREFIX + metric.name + suffix, ())] == 0.0


def test_what_is_counted_is_served_and_summed_up() -> None:
    metrics = JobMetrics()
    metrics.add("assets_total", status="committed")
    metrics.add("gpu_seconds_total", 2.5, outcome="lost")
    metrics.set("queue", 7, state="waiting")
    metrics.observe("asset_seconds", 61.0)
    metrics.observe("asset_seconds", 1.0)
    port = metrics.serve(0)
    try:
        found = samples(scrape(port))
    finally:
        metrics.close()
    assert found[("dreambatch_assets_total", (("status", "committed"),))] == 1.0
    assert found[("dreambatch_asset_seconds_bucket", (("le", "60.0"),))] == 1.0
    totals = metrics.totals()
    assert totals['dreambatch_assets_total{status="committed"}'] == 1.0
    assert totals['dreambatch_gpu_seconds_total{outcome="lost"}'] == 2.5
    assert totals['dreambatch_queue{state="waiting"}'] == 7.0
    assert totals["dreambatch_asset_seconds_sum"] == 62.0
    assert not any("_created" in name or "_bucket" in name for name in totals)


def test_an_error_of_the_store_is_a_step_from_zero() -> None:
    """A rate sees no first value, only changes."""
    metrics = JobMetrics()
    metrics.note_operation("put", "ok", 0.01)
    found = {k: v for k, v in metrics.totals().items() if "store_operations_total" in k}
    name = 'dreambatch_store_operations_total{operation="put",result="%s"}'
    results = METRICS["store_operations_total"].labels["result"]
    assert set(results) == {"ok", *get_args(places.ErrorKind)}
    assert found == {name % result: float(result == "ok") for result in results}


def test_the_first_retry_is_a_step_from_zero() -> None:
    found = JobMetrics().totals()
    assert {found[f'dreambatch_retries_total{{kind="{kind}"}}'] for kind in retry.TABLE} == {0.0}


def test_losses_and_scores_may_be_negative_and_lie_within_their_buckets() -> None:
    """Each value is in the bucket that a look at all bounds finds."""
    metrics = JobMetrics()
    values = {
        "asset_loss": (-2e5, -3.0, 0.0, 2e-6, 0.02, 41.0, 7e4),
        "asset_score": (-1.0, -0.21, 0.0, 0.34, 1.0),
    }
    for value in values["asset_loss"]:
        metrics.observe("asset_loss", value, loss="sds")
    for value in values["asset_score"]:
        metrics.observe("asset_score", value, score="clip")
    port = metrics.serve(0)
    try:
        found = samples(scrape(port))
    finally:
        metrics.close()
    for name, label in (("asset_loss", ("loss", "sds")), ("asset_score", ("score", "clip"))):
        assert (PREFIX + name + "_sum", (label,)) not in found
        assert found[(PREFIX + name + "_count", (label,))] == len(values[name])
        buckets = {
            float(dict(labels)["le"]): count
            for (series, labels), count in found.items()
            if series == PREFIX + name + "_bucket"
        }
        assert buckets == {
            bound: sum(value <= bound for value in values[name])
            for bound in (*METRICS[name].buckets, math.inf)
        }
        assert METRICS[name].buckets[-1] >= max(values[name])


def test_what_is_frozen_is_shown_and_summed_up_for_ever() -> None:
    metrics = JobMetrics()
    metrics.add("assets_total", status="committed")
    metrics.observe("asset_opacity", 0.3)
    port = metrics.serve(0)
    try:
        before = metrics.totals()
        metrics.freeze()
        metrics.add("assets_total", status="committed")
        metrics.note_operation("publish", "ok", 0.1)
        metrics.observe("asset_loss", 1.0, loss="of_a_later_recipe")
        assert metrics.totals() == before
        text = scrape(port)
        assert samples(text)[("dreambatch_assets_total", (("status", "committed"),))] == 1.0
        assert samples(text) == samples(scrape(port))
        assert "later_recipe" not in text
        assert "publish" not in text
    finally:
        metrics.close()


def test_one_metric_can_be_asked_for() -> None:
    metrics = JobMetrics()
    port = metrics.serve(0)
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/metrics?name[]=dreambatch_queue", timeout=10
        ) as answer:
            names = {name for name, _ in samples(answer.read().decode())}
    finally:
        metrics.close()
    assert names == {"dreambatch_queue"}


def test_the_end_is_kept_for_two_scrapes_and_for_nobody_else() -> None:
    """By a clock that the test moves: how long a watcher is waited for, `scrapes` has tests of."""
    moments = [1000.0]
    metrics = JobMetrics(clock=lambda: moments[-1])
    metrics.linger()
    port = metrics.serve(0)
    try:
        assert not metrics.is_watched()
        metrics.linger()
        scrape(port)
        assert metrics.is_watched()
        metrics.add("assets_total", status="committed")
        with ThreadPoolExecutor() as beside:
            lingering = beside.submit(metrics.linger)
            for _ in range(2):
                with pytest.raises(TimeoutError):
                    lingering.result(timeout=0.3)
                seen = samples(scrape(port))
                assert seen[("dreambatch_assets_total", (("status", "committed"),))] == 1.0
            lingering.result(timeout=60)
            assert metrics.is_watched()
            lingering = beside.submit(metrics.linger)
            with pytest.raises(TimeoutError):
                lingering.result(timeout=0.3)
            moments.append(2000.0)
            lingering.result(timeout=60)
        assert not metrics.is_watched(), "the watcher has left"
    finally:
        metrics.close()


def _exposed(metrics: JobMetrics) -> Counter[str]:
    """How many series a scrape finds of each metric."""
    port = metrics.serve(0)
    try:
        series = [name for name, _ in samples(scrape(port))]
    finally:
        metrics.close()
    suffixes = re.compile(r"(_total|_bucket|_sum|_count|_created)+$")
    stems = {suffixes.sub("", PREFIX + metric.name): metric.name for metric in DRIVER}
    return Counter(stems[suffixes.sub("", name)] for name in series)


def test_the_series_that_are_worked_out_are_those_of_a_scrape() -> None:
    """With every value that a label may take."""
    metrics = JobMetrics()
    names = {label: [f"{label} {k}" for k in range(number)] for label, number in MOST.items()}
    for metric in DRIVER:
        values = (known or names[label] for label, known in metric.labels.items())
        for combination in itertools.product(*values):
            labels = dict(zip(metric.labels, combination, strict=True))
            if metric.kind == "counter":
                metrics.add(metric.name, 1.0, **labels)
            elif metric.kind == "gauge":
                metrics.set(metric.name, 1.0, **labels)
            else:
                metrics.observe(metric.name, 1.0, **labels)
    expected = {metric.name: metric.num_series(MOST) for metric in DRIVER}
    assert _exposed(metrics) == Counter(expected)


def test_series_at_a_thousand_actors_are_those_of_the_guide() -> None:
    """The driver's do not depend on the number of actors; each process of an actor has its own."""
    driver = sum(metric.num_series(MOST) for metric in DRIVER)
    actor = sum(m.num_series(MOST) for m in METRICS.values() if m.owner == "actor")
    # By hand, of the two histograms: buckets, +Inf, sum and count for each value of the label.
    assert actor == 4 * (11 + 3) + 4 * (9 + 3)
    guide = (ROOT / "k8s/README.md").read_text(encoding="utf-8")
    assert f"at most {driver:,} series" in guide
    assert f"{actor} of each actor's process" in guide
    assert f"{driver + 1000 * actor:,} at 1,000 actors" in guide


def test_losses_are_named_by_recipes_alone() -> None:
    """`MOST` counts all that any recipe can have."""
    losses = {field.name for field in fields(LossConfig)} - {"orientation_until"}
    assert MOST["loss"] == len(losses | {"sds", "mean_opacity"})
    assert MOST["kind"] == len(retry.TABLE)
    assert MOST["result"] == len({"ok", *get_args(places.ErrorKind)})
    source = (ROOT / "pipeline/storage/objects.py").read_text(encoding="utf-8")
    assert MOST["operation"] == len(set(re.findall(r'_operation\("(\w+)"\)', source)))


def test_a_taken_port_is_an_error_for_the_caller() -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            JobMetrics().serve(taken.getsockname()[1])


def test_the_file_needs_no_ray() -> None:
    code = "import sys, pipeline.metrics; sys.exit('ray' in sys.modules or 'torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
