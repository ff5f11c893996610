"""A whole run of odd prompts at odd places, and every label that a scrape finds in the meantime."""

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from engine import recipes
from pipeline import retry
from pipeline.metrics import METRICS, PREFIX, Metric
from tests.clusters import Head, free_ports
from tests.pipeline.runs import command, rows, summary, write_hollow_weights, write_manifest

ODD = "zyx"
"""Is in every prompt, in every other column and in every path, and nowhere else."""
PROMPTS = [
    f'{ODD} "ball" {{le="1"}} \\ \n 7',
    f"a cube {ODD}\u2028 steps 8",
    f"diverge {ODD} $(x)",
    f"no export {ODD} / .. %s",
    f"dreambatch_queue {ODD}",
]
LABELS = {
    *("status", "outcome", "kind", "cause", "state", "stage", "operation", "result"),
    *("part", "loss", "score", "run_id", "recipe", "guidance_digest", "version", "le"),
}
"""Of all our metrics."""
OF_RAY = {"Component", "NodeAddress", "SessionName", "Version", "WorkerId"}
EXPORT_SECONDS = 90
"""Ray exports every ten seconds or so."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What was scraped of one run, oldest first, and what it left."""

    driver: list[str]
    actors: str
    processes: set[str]
    """Of this run's actors; Ray exports those of earlier ones too."""
    summary: dict[str, Any]
    asset_ids: list[str]


def scrape(url: str) -> str:
    """Nothing where nobody listens."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return ""


def samples(text: str) -> list[Sample]:
    return [s for family in text_string_to_metric_families(text) for s in family.samples]


def of_actors(url: str) -> str:
    """Our part of what Ray exports."""
    lines = scrape(url).splitlines(keepends=True)
    return "".join(line for line in lines if "ray_" + PREFIX in line)


@pytest.fixture(scope="module")
def watched(ray_head: Head, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    place = tmp_path_factory.mktemp("labels") / f'{ODD} {{a="b"}}'
    place.mkdir()
    recipe = place / f"{ODD}.json"
    recipe.write_text(json.dumps(recipes.get("smoke").to_dict()))
    others = [f"{ODD} {k}" for k in range(len(PROMPTS))]
    manifest = write_manifest(
        place / f"{ODD}.parquet",
        [*PROMPTS, ""],
        prompt_id=[*others, f"{ODD} empty"],
        negative_prompt=[*others, ""],
        collection=[*others, ""],
    )
    (port,) = free_ports(1)
    words = ["run", "--manifest", manifest, "--output", place / "out", "--metrics-port", port]
    words += ["--guidance", write_hollow_weights(place / "weights"), "--recipe", recipe]
    driver: list[str] = []
    before = _processes(of_actors(ray_head.metrics_url))
    with subprocess.Popen(
        command(*words, "--slots", 2),
        env=ray_head.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as run:
        while run.poll() is None:
            driver.append(scrape(f"http://127.0.0.1:{port}/metrics"))
            time.sleep(0.1)
        assert run.stdout is not None
        said = run.stdout.read()
    assert run.returncode == 3, said
    actors = _exported(ray_head, before)
    return Watched(
        driver=[text for text in driver if text],
        actors=actors,
        processes=_processes(actors) - before,
        summary=summary(place / "out"),
        asset_ids=[str(row["asset_id"]) for row in rows(place / "out", "asset_id")],
    )


def _processes(text: str) -> set[str]:
    return {sample.labels["WorkerId"] for sample in samples(text)}


def _exported(head: Head, before: set[str]) -> str:
    """The actors' metrics when those of this run are among them; they have ended."""
    wanted = {metric.name for metric in METRICS.values() if metric.owner == "actor"}
    end = time.monotonic() + EXPORT_SECONDS
    while time.monotonic() < end:
        text = of_actors(head.metrics_url)
        fresh = {m.name for m, s in _ours(text) if s.labels["WorkerId"] not in before}
        if fresh == wanted:
            return text
        time.sleep(0.5)
    raise AssertionError(f"Ray does not export {wanted}")


def _ours(text: str) -> Iterator[tuple[Metric, Sample]]:
    by_name = {metric.full_name: metric for metric in METRICS.values()}
    for sample in samples(text):
        name = sample.name
        for suffix in ("", "_bucket", "_sum", "_count", "_created"):
            metric = by_name.get(name.removesuffix(suffix)) if name.endswith(suffix) else None
            metric = metric or by_name.get(f"{name.removesuffix('_created')}_total")
            if metric is not None:
                yield metric, sample
                break
        else:
            raise AssertionError(f"{name} is not declared")


def test_what_is_asked_for_and_where_it_goes_is_in_no_label(watched: Watched) -> None:
    assert watched.summary["num_committed"] == 3
    assert watched.summary["num_quarantined"] == 2
    assert len(watched.asset_ids) == 3
    for text in (watched.driver[-1], watched.actors):
        assert text
        for secret in (ODD, "ball", "cube", "weights", "out/", *watched.asset_ids):
            assert secret not in text


def test_labels_are_those_that_are_declared(watched: Watched) -> None:
    assert {label for metric in METRICS.values() for label in metric.labels} | {"le"} == LABELS
    open_values = {
        "kind": set(retry.TABLE),
        "loss": {"sds"},
        "operation": {"create", "exists", "list", "open", "publish", "read", "remove"},
        "result": {"ok", "full", "passing", "refused"},
    }
    seen: set[str] = set()
    for metric, sample in _all(watched):
        foreign = {name for name in sample.labels if name.startswith("otel_")} | OF_RAY
        labels = {k: v for k, v in sample.labels.items() if k not in foreign and k != "le"}
        assert foreign.isdisjoint(sample.labels) or metric.owner == "actor"
        assert set(labels) == set(metric.labels)
        for label, value in labels.items():
            known = set(metric.labels[label]) or open_values.get(label)
            assert known is None or value in known, sample
        seen.add(metric.name)
    # Scores are observed by whoever evaluates.
    assert seen == METRICS.keys() - {"asset_score"}


def _all(watched: Watched) -> Iterable[tuple[Metric, Sample]]:
    yield from _ours(watched.driver[-1])
    yield from _ours(watched.actors)


def test_there_is_one_value_of_what_says_which_run_it_is(watched: Watched) -> None:
    infos = [s.labels for m, s in _ours(watched.driver[-1]) if m.name == "run_info"]
    (info,) = infos
    assert info["run_id"] == watched.summary["run_id"]
    assert info["recipe"] == recipes.get("smoke").name


def test_what_is_scraped_last_is_what_the_summary_says(watched: Watched) -> None:
    """To the last digit, and twice."""
    totals = watched.summary["details"]["metrics"]
    for text in watched.driver[-2:]:
        assert totals == {
            _key(sample): sample.value
            for sample in samples(text)
            if not sample.name.endswith(("_bucket", "_created"))
        }
    assert totals['dreambatch_assets_total{status="committed"}'] == 3
    assert totals["dreambatch_asset_opacity_count"] == 3
    assert totals['dreambatch_asset_loss_count{loss="sds"}'] == 3
    assert totals['dreambatch_meshes_total{status="ok"}'] == 3
    assert totals["dreambatch_steps_per_second"] == 0.0
    assert totals['dreambatch_queue{state="running"}'] == 0.0


def _key(sample: Sample) -> str:
    inside = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
    return f"{sample.name}{{{inside}}}" if inside else sample.name


def test_series_are_as_many_as_are_worked_out(watched: Watched) -> None:
    """Of an actor's process, as Ray exports it."""
    actor = [metric for metric in METRICS.values() if metric.owner == "actor"]
    found = Counter(
        m.name for m, s in _ours(watched.actors) if s.labels["WorkerId"] in watched.processes
    )
    assert len(watched.processes) == 1
    expected = {metric.name: metric.num_series({}) for metric in actor}
    # Of the four parts of a step the model of pixels lacks one, an image encoder.
    expected["actor_step_part_seconds"] = expected["actor_step_part_seconds"] * 3 // 4
    assert found == expected
