"""The dashboards as they are committed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Json = dict[str, Any]

DIRECTORY = Path(__file__).resolve().parents[2] / "dashboards"
BOARDS: dict[str, Json] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(DIRECTORY.glob("*.json"))
}


def panels(board: Json) -> Iterator[Json]:
    """All panels and rows, those in folded rows included, in Grafana's own order."""
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", [])


SHOWN = {
    f"{name}: {panel['title']}": panel
    for name, board in BOARDS.items()
    for panel in panels(board)
    if panel["type"] not in ("row", "text")
}
"""Every panel that shows figures, by its dashboard and title."""

CHAPTERS = {panel["id"]: panel for panel in panels(BOARDS["job"]) if panel["type"] == "text"}
"""The runbook's panels by their ids."""
