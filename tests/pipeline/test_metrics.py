"""Names, labels and values of the metrics, read as Prometheus reads them."""

import re
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.metrics import MAX_LINGER_SECONDS, METRICS, PREFIX, JobMetrics
from pipeline.settings import RunSettings

DRIVER = [metric for metric in METRICS.values() if metric.owner == "driver"]


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
        "dreambatch_asset_seconds",
        "dreambatch_stage_seconds",
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
        for label, values in metric.labels.items():
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


def test_the_end_is_kept_for_a_watcher_and_for_nobody_else() -> None:
    metrics = JobMetrics()
    start = time.monotonic()
    metrics.linger()
    port = metrics.serve(0)
    try:
        metrics.linger()
        assert time.monotonic() - start < 1.0, "nobody watches"
        scrape(port)
        metrics.add("assets_total", status="committed")
        with ThreadPoolExecutor() as watcher:
            seen = watcher.submit(lambda: time.sleep(0.3) or samples(scrape(port)))
            metrics.linger()
            end = time.monotonic()
        assert seen.result()[("dreambatch_assets_total", (("status", "committed"),))] == 1.0
        assert 0.3 <= end - start < MAX_LINGER_SECONDS / 2
        start = time.monotonic()
        metrics.linger()
        assert 1.0 <= time.monotonic() - start < 10.0, "the watcher has left"
    finally:
        metrics.close()


def test_a_taken_port_is_an_error_for_the_caller() -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            JobMetrics().serve(taken.getsockname()[1])


def test_the_file_needs_no_ray() -> None:
    code = "import sys, pipeline.metrics; sys.exit('ray' in sys.modules or 'torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
