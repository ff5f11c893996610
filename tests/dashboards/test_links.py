"""Links of panels and dashboards lead to places that exist, in any Grafana."""

import re
from typing import Any

import pytest
import yaml

from pipeline.dashboards import runbook
from tests.dashboards.conftest import BOARDS, CHAPTERS, DIRECTORY, SHOWN

K8S = DIRECTORY.parent / "k8s"
RULES = yaml.safe_load((K8S / "monitoring" / "rules.yaml").read_text(encoding="utf-8"))
ALERTS = {rule["alert"] for group in RULES["spec"]["groups"] for rule in group["rules"]}
UIDS = {board["uid"]: name for name, board in BOARDS.items()}
RAY = "rayDefaultDashboard"
CARRIED = "${__url_time_range}&${__all_variables}"
EVERY_PANEL = pytest.mark.parametrize("panel", SHOWN.values(), ids=SHOWN.keys())


def _kind(url: str) -> str:
    """What a link leads to; AssertionError for what is not there."""
    if found := re.fullmatch(r"/alerting/list\?search=(\w+)", url):
        assert found[1] in ALERTS
        return "alert"
    found = re.fullmatch(r"/d/([\w-]+)\?(?:viewPanel=(\d+)&)?(.*)", url)
    assert found, f"{url}: no path within Grafana"
    uid, number, carried = found.groups()
    if uid == RAY:
        assert carried == "${__url_time_range}"
        return "ray"
    assert carried == CARRIED
    if number is None:
        assert uid in UIDS
        return "sibling"
    assert UIDS[uid] == "job"
    assert CHAPTERS[int(number)]["title"] in ALERTS
    return "runbook"


@EVERY_PANEL
def test_every_panel_leads_somewhere(panel: dict[str, Any]) -> None:
    assert panel["links"]
    for link in panel["links"]:
        assert link["title"]
        kind = _kind(link["url"])
        if kind == "runbook":
            number = int(re.findall(r"viewPanel=(\d+)", link["url"])[0])
            assert link["title"] == f"Runbook of {CHAPTERS[number]['title']}"


@pytest.mark.parametrize(
    "url",
    [
        "https://grafana.example/d/dreambatch-job?x",
        f"/d/dreambatch-nothing?{CARRIED}",
        "/d/dreambatch-job?${__url_time_range}",
        f"/d/dreambatch-job?viewPanel=999999&{CARRIED}",
        f"/d/dreambatch-gpus?viewPanel=1001&{CARRIED}",
        "/alerting/list?search=DreambatchNobody",
    ],
)
def test_a_link_to_nowhere_is_noticed(url: str) -> None:
    with pytest.raises((AssertionError, KeyError)):
        _kind(url)


def test_a_sibling_is_another_dashboard() -> None:
    for title, panel in SHOWN.items():
        own = BOARDS[title.partition(":")[0]]["uid"]
        for link in panel["links"]:
            if _kind(link["url"]) == "sibling":
                assert not link["url"].startswith(f"/d/{own}?")


def test_every_alert_is_linked_from_the_panel_that_shows_it() -> None:
    """By the metrics of the alert: some linked panel shows one of them."""
    for group in RULES["spec"]["groups"]:
        for rule in group["rules"]:
            needed = set(re.findall(r"\b(?:dreambatch|autoscaler|ray_node)_\w+", rule["expr"]))
            url = f"/alerting/list?search={rule['alert']}"
            shown = [
                " ".join(target["expr"] for target in panel["targets"])
                for panel in SHOWN.values()
                if url in [link["url"] for link in panel["links"]]
            ]
            assert any(name in text for name in needed for text in shown), rule["alert"]


def test_the_runbook_is_the_readmes() -> None:
    readme = (K8S / "README.md").read_text(encoding="utf-8")
    assert {chapter["title"] for chapter in CHAPTERS.values()} == ALERTS
    for number, chapter in CHAPTERS.items():
        text = chapter["options"]["content"]
        assert runbook.panel_id(chapter["title"]) == number
        after = readme.split(f"### {chapter['title']}\n")[1].lstrip()
        assert text.split()[:5] == after.split()[:5]
        assert "###" not in text
        assert not re.search(r"\]\((?!https?:)", text), "a link that Grafana cannot follow"


def test_a_chapters_links_within_the_repository_become_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "k8s").mkdir()
    (tmp_path / "k8s" / "README.md").write_text(
        "# Guide\n\n### DreambatchOne\n\nSee [two](#two), [it](../a.md) and [docs](https://d.example/).\n"
        "\n### DreambatchTwo\n\nLast.\n\n## Cost\n\nNot of it.\n"
    )
    monkeypatch.setattr(runbook, "root", lambda: tmp_path)
    runbook.chapters.cache_clear()
    try:
        assert runbook.chapters() == {
            "DreambatchOne": "See two, it and [docs](https://d.example/).",
            "DreambatchTwo": "Last.",
        }
    finally:
        runbook.chapters.cache_clear()


def test_dashboards_link_to_one_another_and_take_run_and_time_along() -> None:
    for board in BOARDS.values():
        (link,) = board["links"]
        assert (link["type"], link["tags"]) == ("dashboards", ["dreambatch"])
        assert link["includeVars"] is link["keepTime"] is True


def test_rays_dashboard_is_called_so() -> None:
    from ray.dashboard.modules.metrics.dashboards import default_dashboard_panels

    assert default_dashboard_panels.default_dashboard_config.default_uid == RAY
