"""Where panels lead: runbooks, alerts, the sibling dashboards, Ray's own.

All are paths within the Grafana that shows the panel, so that nobody's host has to be known: a
runbook's chapter is a panel of its own, at the foot of *Job*.
"""

from pipeline.dashboards import runbook
from pipeline.dashboards.panels import Json

TITLES = {
    "job": "Job",
    "gpus": "GPUs and slots",
    "store": "Store and driver",
    "quality": "Quality",
}
"""Each dashboard's title by its name; the name is also its file's."""

RAY_UID = "rayDefaultDashboard"
"""Ray's dashboard of machines, as the head of every cluster writes it for Grafana."""

_STATE = "${__url_time_range}&${__all_variables}"


def uid(name: str) -> str:
    """What Grafana's paths call a dashboard."""
    assert name in TITLES
    return f"dreambatch-{name}"


def alert(name: str) -> list[Json]:
    """The runbook of an alert, and Grafana's page of it."""
    chapter = f"/d/{uid('job')}?viewPanel={runbook.panel_id(name)}&{_STATE}"
    return [
        _link(f"Runbook of {name}", chapter),
        _link(f"Alert {name}", f"/alerting/list?search={name}"),
    ]


def sibling(name: str, panel: str) -> list[Json]:
    """The dashboard that explains a panel, for the same run and time."""
    return [_link(f"{TITLES[name]}: {panel}", f"/d/{uid(name)}?{_STATE}")]


def ray() -> list[Json]:
    """Ray's view of the machines at the same time."""
    return [_link("Ray's dashboard", f"/d/{RAY_UID}?${{__url_time_range}}")]


def siblings() -> list[Json]:
    """The links on top of each dashboard, to all of them."""
    return [
        {
            "type": "dashboards",
            "title": "dreambatch",
            "tags": ["dreambatch"],
            "asDropdown": False,
            "includeVars": True,
            "keepTime": True,
            "targetBlank": False,
            "icon": "external link",
            "tooltip": "",
            "url": "",
        }
    ]


def _link(title: str, url: str) -> Json:
    return {"title": title, "url": url, "targetBlank": False}
