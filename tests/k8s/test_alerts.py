"""The alerts, by promtool's own unit tests: each fires when it should and rests when it should."""

import shutil
import subprocess
from pathlib import Path

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


def test_prometheus_agrees(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; Debian's package prometheus has it")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES["spec"]))
    stories = tmp_path / STORIES.name
    stories.write_text(STORIES.read_text())
    for command in (["check", "rules", tmp_path / "rules.yaml"], ["test", "rules", stories]):
        done = subprocess.run([promtool, *command], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
