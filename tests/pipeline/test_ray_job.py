"""`ray job submit` of the real command with the real engine, and its metrics while it runs."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from pipeline.metrics import METRICS
from tests.clusters import ROOT, Head, driver_environment, free_ports
from tests.pipeline.runs import rows, summary, write_manifest

JOB_SECONDS = 120


def scrape(url: str) -> dict[str, float]:
    """Every sample of a scrape by name and labels; nothing where nobody listens yet."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            text = answer.read().decode()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return {}
    return {
        sample.name + json.dumps(sample.labels, sort_keys=True): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_two_prompts_as_a_job(ray_head: Head, tmp_path: Path, tiny_weights: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", ["a red ball", "a blue ball"])
    (port,) = free_ports(1)
    entry = [sys.executable, "-m", "pipeline", "run", "--manifest", manifest]
    entry += ["--output", tmp_path / "out", "--guidance", tiny_weights, "--recipe", "smoke"]
    entry += ["--slots", 1, "--metrics-port", port]
    submit = [Path(sys.executable).parent / "ray", "job", "submit", "--address"]
    submit += [ray_head.dashboard_url, "--", *entry]
    running: list[dict[str, float]] = []
    actor_names: set[str] = set()
    with subprocess.Popen(
        list(map(str, submit)),
        env=driver_environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as job:
        end = time.monotonic() + JOB_SECONDS
        while job.poll() is None and time.monotonic() < end:
            running.append(scrape(f"http://127.0.0.1:{port}/metrics"))
            actor_names |= {name.partition("{")[0] for name in scrape(ray_head.metrics_url)}
            time.sleep(0.2)
        assert job.stdout is not None
        said = job.stdout.read()
    assert job.returncode == 0, said
    assert "done in" in said
    assert [row["prompt"] for row in rows(tmp_path / "out")] == ["a blue ball", "a red ball"]
    assert summary(tmp_path / "out")["exit_code"] == 0

    seen = [scraped for scraped in running if scraped]
    busy = 'dreambatch_queue{"state": "running"}'
    done = 'dreambatch_assets_total{"status": "committed"}'
    assert max(scraped[busy] for scraped in seen) >= 1
    assert seen[0][done] == 0.0
    assert seen[-1][done] == 2.0, "the end stays until somebody has seen it"
    assert all(name.startswith("dreambatch_") for scraped in seen for name in scraped)
    exported = METRICS["actor_stage_seconds"].full_name
    if not any(name.startswith(exported) for name in actor_names):
        # Ray exports every ten seconds or so, also what is left of an actor that has ended.
        end = time.monotonic() + 30
        while time.monotonic() < end and not any(n.startswith(exported) for n in actor_names):
            actor_names |= {name.partition("{")[0] for name in scrape(ray_head.metrics_url)}
            time.sleep(0.5)
    assert {f"{exported}_bucket", f"{exported}_sum", f"{exported}_count"} <= actor_names
