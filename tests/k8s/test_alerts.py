"""The alerts, by promtool's own unit tests: each fires when it should and rests when it should."""

import copy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.k8s.conftest import applied, by_kind

STORIES = Path(__file__).with_name("alerts.yaml")
(RULES,) = by_kind(applied("overlays/gke-spot"), "PrometheusRule")


def _told() -> list[tuple[str, bool]]:
    """Each alert that the stories ask for, and whether it is to fire."""
    return [
        (test["alertname"], bool(test["exp_alerts"]))
        for story in yaml.safe_load(STORIES.read_text())["tests"]
        for test in story["alert_rule_test"]
    ]


def test_every_alert_fires_in_a_story_and_rests_in_one() -> None:
    alerts = {rule["alert"] for group in RULES["spec"]["groups"] for rule in group["rules"]}
    assert set(_told()) == {(alert, fires) for alert in alerts for fires in (True, False)}


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed; Debian's package prometheus has it")
    return found


def _answers(promtool: str, directory: Path, rules: dict[str, Any]) -> list[str]:
    """What promtool says against the rules, and against the stories told of them."""
    (directory / "rules.yaml").write_text(yaml.safe_dump(rules))
    stories = directory / STORIES.name
    stories.write_text(STORIES.read_text())
    complaints = []
    for command in (["check", "rules", directory / "rules.yaml"], ["test", "rules", stories]):
        done = subprocess.run([promtool, *command], check=False, capture_output=True, text=True)
        complaints.append(done.stdout + done.stderr if done.returncode else "")
    return complaints


def test_prometheus_agrees(promtool: str, tmp_path: Path) -> None:
    assert _answers(promtool, tmp_path, RULES["spec"]) == ["", ""]


@pytest.mark.parametrize(
    ("alert", "old", "new"),
    [
        ("DreambatchStalled", "> 3 *", "> 2 *"),
        ("DreambatchStalled", "> 3 *", "> 4 *"),
        ("DreambatchStalled", "and on (namespace, pod) sum", "or on (namespace, pod) sum"),
        ("DreambatchNothingYet", "== 0", ">= 0"),
        ("DreambatchNothingYet", "1h", "30m"),
        ("DreambatchFailures", "> 0.05", "> 0.03"),
        ("DreambatchFailures", "> 0.05", "> 0.2"),
        ("DreambatchQuarantine", "> 0", ">= 0"),
        ("DreambatchStoreErrors", "passing|full", "passing|full|refused"),
        ("DreambatchStoreErrors", "> 0.01", "> 0.005"),
        ("DreambatchPendingNodes", "20m", "10m"),
        ("DreambatchPendingNodes", "20m", "2h"),
        ("DreambatchHeadMemory", "> 0.85", "> 0.8"),
        ("DreambatchHeadMemory", "10m", "5m"),
    ],
)
def test_the_stories_notice_another_rule(
    promtool: str, tmp_path: Path, alert: str, old: str, new: str
) -> None:
    """A bound that moves is a story that fails, so that bounds are what the stories say."""
    rules = copy.deepcopy(RULES["spec"])
    (rule,) = (r for group in rules["groups"] for r in group["rules"] if r["alert"] == alert)
    before = copy.deepcopy(rule)
    for key in ("expr", "for"):
        if key in rule:
            rule[key] = rule[key].replace(old, new)
    assert rule != before
    legal, told = _answers(promtool, tmp_path, rules)
    assert legal == ""
    assert alert in told
