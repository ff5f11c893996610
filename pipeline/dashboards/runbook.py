"""The runbook: a chapter of `k8s/README.md` for each alert, which Grafana shows beside the panels.

Whoever is called at night has Grafana open, and not this repository.
"""

import re
from functools import cache

from pipeline.kubernetes.render import root

_FIRST_PANEL = 1001
"""Ids of the chapters' panels start here, above all others', so that links can be made first."""

_CHAPTER = re.compile(r"^### (Dreambatch\w+)\n(.*?)(?=^#|\Z)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[([^]]+)\]\((?!https?:)[^)]*\)")
"""To another place of the repository, which Grafana does not have."""


@cache
def chapters() -> dict[str, str]:
    """Markdown by the name of the alert, in the order of the file."""
    text = (root() / "k8s" / "README.md").read_text(encoding="utf-8")
    return {name: _LINK.sub(r"\1", body).strip() for name, body in _CHAPTER.findall(text)}


def panel_id(alert: str) -> int:
    """The id of a chapter's panel."""
    names = list(chapters())
    assert alert in names, f"{alert}: k8s/README.md has no such chapter"
    return _FIRST_PANEL + names.index(alert)
