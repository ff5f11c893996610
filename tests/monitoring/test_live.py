"""Prometheus over real runs: panels and alerts have data, counters agree with the dataset."""

import math
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pipeline.metrics import METRICS
from tests import clusters
from tests.monitoring import expressions, prometheus, submission, world
from tests.monitoring.expressions import Query
from tests.monitoring.world import Run, Scored, World
from tests.pipeline.runs import failures, summary

pytestmark = [
    pytest.mark.slow,
    # The first test waits for machines, two runs and an evaluation, each with its own limit.
    pytest.mark.timeout(3 * world.PATIENCE_SECONDS + 300),
    pytest.mark.skipif(
        prometheus.PROGRAM is None, reason="Debian's package prometheus is not installed"
    ),
]

OF_SCORES = {
    "quality / Score / {{score}}",
    "quality / Scores, over time / {{score}} p10",
    "quality / Scores, over time / {{score}} p50",
    "quality / Scores, over time / {{score}} p90",
}
"""Expressions that have data once `dreambatch evaluate` has come after a run."""

PACKAGE_BYTES = 60 * 2**20
RUNS = pytest.mark.parametrize("name", ["job", "mishaps"])


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world.serve(tmp_path_factory.mktemp("live")) as found:
        yield found


def _has_data(live: World, event: Run | Scored, expression: str) -> bool:
    """Whether it has a value, not NaN, at any second of a run or an evaluation."""
    series = live.prometheus.range(expression, event.start, event.end + 1)
    return any(math.isfinite(value) for _, samples in series for _, value in samples)


def _queries(live: World, run: Run) -> list[Query]:
    return expressions.queries(live.prometheus, {"run": run.run_id})


def test_every_panel_shows_data(live: World) -> None:
    queries = _queries(live, live.mishaps)
    assert len(queries) >= 40
    empty = {q.name for q in queries if not _has_data(live, live.mishaps, q.expression)}
    assert empty == OF_SCORES


def test_every_score_panel_shows_data(live: World) -> None:
    """Chosen by the run, as all panels are, while its assets are judged."""
    of_scores = [q for q in _queries(live, live.mishaps) if q.name in OF_SCORES]
    assert len(of_scores) == len(OF_SCORES)
    assert [q.name for q in of_scores if not _has_data(live, live.scored, q.expression)] == []
    counted = "sum by (score) (dreambatch_asset_score_count)"
    last = live.prometheus.range(counted, live.scored.start, live.scored.end)
    numbers = {labels["score"]: samples[-1][1] for labels, samples in last}
    assert numbers["j2_similarity"] == numbers["j2_kind"] == 10, live.scored.said


def test_runs_are_offered_newest_first(live: World) -> None:
    """Both were scraped at one address, one after the other."""
    address = live.targets["dreambatch-head", "job-metrics"]
    for dashboard in expressions.dashboards().values():
        values = expressions.variables(dashboard, live.prometheus, {})
        assert (values["run"], values["instance"]) == (live.mishaps.run_id, address)
        values = expressions.variables(dashboard, live.prometheus, {"run": live.job.run_id})
        assert (values["run"], values["instance"]) == (live.job.run_id, address)


def test_every_alert_is_evaluated(live: World) -> None:
    (group,) = live.prometheus.call("rules")["groups"]
    alerts = {rule["name"]: rule for rule in group["rules"]}
    assert alerts.keys() == {rule["alert"] for rule in prometheus.rules()["groups"][0]["rules"]}
    for rule in alerts.values():
        assert (rule["health"], rule.get("lastError", "")) == ("ok", ""), rule


def test_every_alert_has_something_to_compare(live: World) -> None:
    empty = [
        (rule["alert"], operand)
        for rule in prometheus.rules()["groups"][0]["rules"]
        for operand in expressions.operands(rule["expr"])
        if not _has_data(live, live.mishaps, operand)
    ]
    assert empty == []


def test_the_alerts_that_should_fire_do(live: World) -> None:
    fired = {
        (labels["alertname"], labels["alertstate"])
        for labels, _ in live.prometheus.range("ALERTS", live.job.start, live.mishaps.end)
    }
    assert {alert for alert, state in fired if state == "firing"} == {"DreambatchQuarantine"}
    assert ("DreambatchFailures", "pending") in fired
    before = live.prometheus.range("ALERTS", live.job.start, live.job.end)
    assert not [labels for labels, _ in before if labels["alertname"] == "DreambatchQuarantine"]


def test_the_first_failures_are_seen_by_a_rate(live: World) -> None:
    """Their counters were there before, at zero."""
    retried = 'sum(increase(dreambatch_retries_total{kind="diverged"}[15m]))'
    assert live.prometheus.number(retried, live.mishaps.end) == pytest.approx(2, rel=0.3)


@RUNS
def test_counters_agree_with_the_dataset(live: World, name: str) -> None:
    run = live.runs[name]
    last = live.last(run)
    files = sorted((run.output / "assets").rglob("*.parquet"))
    rows = ds.dataset(files).to_table(columns=["attempts", "gpu_seconds"]).to_pylist()
    kept = failures(run.output)
    quarantined = [failure for failure in kept if failure["quarantined"]]
    expected = {"job": (4, 0, 0, 0), "mishaps": (10, 1, 1, 3)}[name]
    assert (len(rows), _num_rejected(run), len(quarantined), len(kept)) == expected
    assert {
        'dreambatch_assets_total{status="committed"}': len(rows),
        'dreambatch_assets_total{status="rejected"}': _num_rejected(run),
        'dreambatch_assets_total{status="quarantined"}': len(quarantined),
        'dreambatch_assets_total{status="duplicate"}': 0,
        'dreambatch_assets_total{status="skipped"}': 0,
        'dreambatch_attempts_total{outcome="committed"}': len(rows),
        'dreambatch_attempts_total{outcome="failed"}': len(kept),
        "dreambatch_output_bytes_total": sum(path.stat().st_size for path in files),
        "dreambatch_asset_seconds_count": len(rows),
        'dreambatch_queue{state="waiting"}': 0,
        'dreambatch_queue{state="running"}': 0,
    }.items() <= last.items()
    attempts = sum(int(row["attempts"]) for row in rows) + len(kept)
    assert attempts == sum(v for k, v in last.items() if k.startswith("dreambatch_attempts_total{"))
    retried = sum(v for k, v in last.items() if k.startswith("dreambatch_retries_total{"))
    assert retried == len(kept) - len(quarantined)
    spent = last['dreambatch_gpu_seconds_total{outcome="committed"}']
    assert spent == pytest.approx(sum(float(row["gpu_seconds"]) for row in rows))
    modified = max(path.stat().st_mtime for path in files)
    assert last["dreambatch_last_commit_timestamp_seconds"] == pytest.approx(modified, abs=30)


def _num_rejected(run: Run) -> int:
    return sum(pq.read_metadata(path).num_rows for path in run.output.rglob("_rejected/*.parquet"))


@RUNS
def test_counters_agree_with_the_summary(live: World, name: str) -> None:
    """To the last digit; but the summary itself is an operation on the output, and so is what comes
    after it."""
    run = live.runs[name]
    told, last = summary(run.output), live.last(run)
    assert told["exit_code"] == {"job": 0, "mishaps": 3}[name]
    totals = told["details"]["metrics"]  # pyright: ignore[reportIndexIssue]
    of_store = "dreambatch_store_"
    assert totals == {key: value for key, value in last.items() if key in totals} | {
        key: value for key, value in totals.items() if key.startswith(of_store)
    }
    assert len(totals) > 30
    for key, value in totals.items():
        if key.startswith(of_store):
            assert value <= last[key] <= value + 5, key
    assert totals['dreambatch_assets_total{status="committed"}'] == told["num_committed"]
    assert totals["dreambatch_output_bytes_total"] == told["bytes_written"]


def test_every_target_was_scraped(live: World) -> None:
    up = live.prometheus.range("up", live.mishaps.start, live.mishaps.end)
    found = {(labels["pod"], labels["endpoint"]): samples for labels, samples in up}
    assert found.keys() == live.targets.keys()
    for target, samples in found.items():
        assert 1.0 in {value for _, value in samples}, target


def test_both_machines_tell(live: World) -> None:
    """Two machines of which one is the head; both actors are on the other."""
    start, end = live.mishaps.start, live.mishaps.end
    told = live.prometheus.range("ray_node_mem_total", start, end)
    assert {labels["pod"] for labels, _ in told} == {"dreambatch-head", "dreambatch-worker"}
    steps = f"{METRICS['actor_stage_seconds'].full_name}_count"
    told = live.prometheus.range(steps, start, end)
    assert {labels["pod"] for labels, _ in told} == {"dreambatch-worker"}
    ((_, ready),) = live.prometheus.range('dreambatch_actors{state="ready"}', start, end)
    assert max(number for _, number in ready) == world.NUM_ACTORS


def test_no_label_tells_what_was_made(live: World) -> None:
    """No prompt, no asset, no path of the run in any label of any series."""
    words = []
    for run in live.runs.values():
        table = ds.dataset(sorted((run.output / "assets").rglob("*.parquet")))
        for row in table.to_table(columns=["asset_id", "prompt", "prompt_id"]).to_pylist():
            words += row.values()
        words += [str(run.output), "hopeless.json"]
    selectors = '{__name__=~"(ray_)?dreambatch_.*"}'
    series = live.prometheus.call("series", **{"match[]": selectors})
    assert len(series) > 100
    values = {value for labels in series for value in labels.values()}
    assert not [(word, value) for word in words for value in values if word in value]


def test_what_travelled_is_the_source(live: World, tmp_path: Path) -> None:
    """Byte by byte; what other tests leave in the checkout for a moment may have gone along."""
    submission.packed(clusters.ROOT, tmp_path / "package.zip")
    assert (tmp_path / "package.zip").stat().st_size < PACKAGE_BYTES
    with zipfile.ZipFile(tmp_path / "package.zip") as archive:
        source = {x.filename: archive.read(x) for x in archive.infolist() if not x.is_dir()}
    assert "pipeline/cli.py" in source
    for said in (live.job.said, live.mishaps.said):
        name = submission.package_of(said).removesuffix(".zip")
        found = [x for x in live.head.directory.rglob(name) if (x / "pipeline").is_dir()]
        assert found, "a machine has it"
        for directory in found:
            there = {
                str(path.relative_to(directory)): path.read_bytes()
                for path in directory.rglob("*")
                if path.is_file() and "__pycache__" not in path.parts
            }
            assert source.items() <= there.items()
            assert sum(map(len, there.values())) < PACKAGE_BYTES
            assert not {".git", ".venv", "out", "tests"} & {x.split("/")[0] for x in there}
