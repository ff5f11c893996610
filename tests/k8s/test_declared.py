"""Flags, variables, metrics and versions that `k8s/` names are those that the project declares."""

import json
import re
import shlex
import tomllib
from dataclasses import fields
from typing import Any

import pytest

from pipeline import models
from pipeline.commands.dashboards import Dashboards
from pipeline.commands.status import Status
from pipeline.kubernetes.values import Values
from pipeline.metrics import METRICS
from pipeline.settings import RunSettings
from tests.k8s.conftest import (
    K8S,
    REPOSITORY,
    Objects,
    applied,
    by_kind,
    cluster,
    containers,
    groups,
)

TEXTS = {
    str(path.relative_to(K8S)): path.read_text(encoding="utf-8")
    for path in sorted(K8S.rglob("*"))
    if path.is_file()
}
README = TEXTS["README.md"].replace("\\\n", " ")
RULES = [
    rule
    for found in by_kind(applied("overlays/gke-spot"), "PrometheusRule")
    for group in found["spec"]["groups"]
    for rule in group["rules"]
]
FOREIGN_METRICS = {"autoscaler_pending_nodes", "ray_node_mem_used", "ray_node_mem_total"}
"""Ray's own."""
PROMQL = {"time", "max", "sum", "by", "on", "and", "rate", "increase", "histogram_quantile"}


def _flags(settings: type) -> set[str]:
    return {"--" + field.name.replace("_", "-") for field in fields(settings)}


def _series() -> dict[str, set[str]]:
    """The series that the pipeline declares, each with its labels."""
    found: dict[str, set[str]] = {}
    for metric in METRICS.values():
        suffixes = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        for suffix in suffixes:
            found[metric.full_name + suffix] = set(metric.labels)
    return found


def test_variables_are_read_by_somebody(objects: Objects) -> None:
    words = " ".join(found["spec"]["entrypoint"] for found in by_kind(objects, "RayJob"))
    for found in by_kind(objects, "ConfigMap"):
        for name in found["data"]:
            assert name.endswith(".json") or f"${name}" in words
    assert not any(container.get("env") for container in containers(objects))


def test_the_images_variables_are_the_packages() -> None:
    assert f"{models.CACHE_VARIABLE}=/var/cache/dreambatch " in TEXTS["Dockerfile"]
    for name in re.findall(r"\bDREAMBATCH_\w+", TEXTS["Dockerfile"]):
        assert name == models.CACHE_VARIABLE


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_metrics_are_declared(text: str) -> None:
    named = set(re.findall(r"\b(?:ray_)?dreambatch_\w+", text))
    assert named <= _series().keys()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_there_is_and_says_what_to_do(rule: dict[str, Any]) -> None:
    expression = rule["expr"]
    for series, matchers in re.findall(r"(\w+)\{([^}]*)\}", expression):
        for label, values in re.findall(r'(\w+)(?:=~|!=|=)"([^"]*)"', matchers):
            if series in FOREIGN_METRICS:
                assert label == "IsHeadNode"
                continue
            declared = METRICS[series.removeprefix("dreambatch_")].labels[label]
            assert not declared or set(values.split("|")) <= set(declared)
    plain = re.sub(r"\{[^}]*\}|\[\w+\]|\((?:namespace|pod|le|, )+\)|[0-9.]+", " ", expression)
    named = set(re.findall(r"[a-zA-Z]\w*", plain)) - PROMQL
    assert named
    assert named <= _series().keys() | FOREIGN_METRICS
    assert not re.search(
        r"(?<!rate\()(?<!increase\()\bdreambatch_\w+_(?:total|bucket)\b", expression
    )
    file, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert file == "k8s/README.md"
    assert anchor in {line.strip("# ").lower() for line in README.splitlines() if line[:1] == "#"}
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}


def test_the_last_words_of_a_worker_are_rays() -> None:
    from ray.scripts.scripts import drain_node

    (container,) = groups(applied("base"))[1]["template"]["spec"]["containers"]
    shell, option, command = container["lifecycle"]["preStop"]["exec"]["command"]
    assert (shell, option) == ("sh", "-c")
    words = shlex.split(command)
    assert words[:6] == ["timeout", "--signal", "KILL", "10", "ray", "drain-node"]
    said = words[6 : words.index("&&")]
    # Parsed, not run; without an id it means its own machine.
    context = drain_node.make_context("drain-node", said)
    assert context.params["deadline_remaining_seconds"] == 15
    assert context.params["node_id"] is None


def test_commands_in_the_instructions_have_flags_that_exist() -> None:
    commands = {
        "python -m pipeline supervise -- run": _flags(RunSettings),
        "dreambatch dashboards": _flags(Dashboards),
        "dreambatch k8s render": _flags(Values) | {"--no-monitoring", "--help"},
        "dreambatch status": _flags(Status),
    }
    for command, known in commands.items():
        lines = [line.split(command)[1] for line in README.splitlines() if command in line]
        assert lines
        for line in lines:
            assert set(re.findall(r"(?<!\S)--[a-z][a-z-]*", line)) <= known


def test_other_flags_in_the_instructions_exist() -> None:
    """Those that the text names outside of a command, in quotes of code."""
    known = _flags(Values) | _flags(RunSettings) | {"--no-monitoring", "--working-dir"}
    named = set(re.findall(r"`(--[a-z][a-z-]*)", README))
    assert len(named) >= 8
    assert named <= known


def test_panels_in_the_instructions_exist() -> None:
    """Named as *Dashboard: Panel*."""
    panels: dict[str, set[str]] = {}
    for path in sorted((REPOSITORY / "dashboards").glob("*.json")):
        found = json.loads(path.read_text())
        panels[found["title"].removeprefix("dreambatch: ")] = {p["title"] for p in found["panels"]}
    flat = " ".join(README.split())
    named = re.findall(rf"\*({'|'.join(panels)}): ([^*`]+)\*", flat)
    assert len(named) >= 30
    assert [(board, panel) for board, panel in named if panel not in panels[board]] == []
    assert {board for board, _ in named} == panels.keys()
    assert len(named) == len(re.findall(r"(?<!\*)\*[A-Z][^*`]+: [^*]+\*(?!\*)", flat))


def test_every_alerts_chapter_says_where_to_look() -> None:
    for rule in RULES:
        _, found, rest = README.partition(f"\n### {rule['alert']}\n")
        assert found, rule["alert"]
        chapter = rest.partition("\n#")[0]
        assert re.search(r"\*[A-Z][\w ]+:\s[^*]+\*", chapter), rule["alert"]


def test_the_cost_adds_up() -> None:
    """GPU hours and price of each line, from its seconds an asset."""
    table = re.findall(r"^\| .* \| ([\d.]+) s \| ([\d.]+) \| ([\d.]+) \|$", README, re.MULTILINE)
    (assets,) = {int(found.replace(",", "")) for found in re.findall(r"([\d,]+) assets", README)}
    (price,) = {float(found) for found in re.findall(r"at ([\d.]+) an hour", README)}
    assert price == float(re.findall(r"^PRICE = ([\d.]+)", README, re.MULTILINE)[0])
    seconds = [float(found) for found, _, _ in table]
    hours = [assets * found / 3600 for found in seconds]
    assert [found for _, found, _ in table] == [f"{hour:.{_digits(hour)}f}" for hour in hours]
    assert [found for *_, found in table] == [f"{price * hour:.2f}" for hour in hours]
    useful, wasted, together = seconds
    assert together == pytest.approx(useful + wasted)
    assert wasted == pytest.approx(useful * 0.0114 / (1 - 0.0114), abs=0.0005)
    measured = (REPOSITORY / "engine/bench/results/assets.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in measured]
    newest = [row for row in rows if row["slots"] == 32 and row["devices"] == 1][-1]
    assert useful == pytest.approx(newest["asset_seconds"], abs=0.0005)


def _digits(hours: float) -> int:
    return 1 if hours >= 1 else 2


def test_paths_in_the_instructions_exist() -> None:
    named = re.findall(r"(?<![\w/])(?:k8s|dashboards)/[\w./-]*\w", README)
    assert len(named) >= 5
    for path in named:
        assert (REPOSITORY / path).exists(), path


def test_ray_and_the_image_are_the_pinned_ones() -> None:
    pins = (REPOSITORY / "requirements.txt").read_text().splitlines()
    assert f"ray=={cluster(applied('base'))['rayVersion']}" in pins
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    images = {c["image"] for c in containers(applied("base")) if "image" in c}
    assert images == {f"dreambatch:{project['version']}"}


def test_the_package_brings_the_files() -> None:
    setuptools = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    for name in ("k8s", "dashboards"):
        package = f"pipeline.kubernetes.files.{name}"
        assert package in setuptools["packages"]
        assert setuptools["package-dir"][package] == name
        patterns = setuptools["package-data"][package]
        kept = {path for pattern in patterns for path in (REPOSITORY / name).glob(pattern)}
        assert {*(REPOSITORY / name).rglob("*.yaml"), *(REPOSITORY / name).glob("*.json")} <= kept
    assert "README.md" in setuptools["package-data"]["pipeline.kubernetes.files.k8s"], "the runbook"


def test_every_package_is_installed() -> None:
    setuptools = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    for name in ("engine", "pipeline"):
        for path in (REPOSITORY / name).rglob("*.py"):
            package = ".".join(path.parent.relative_to(REPOSITORY).parts)
            assert package in setuptools["packages"]
