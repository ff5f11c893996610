"""The dashboards' files: what the generator writes, and what Grafana wants of them."""

import json
import re
from typing import Any

import pytest

from pipeline.dashboards import render
from tests.dashboards.conftest import BOARDS, DIRECTORY, SHOWN, panels

EVERY_BOARD = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS.keys())
EVERY_PANEL = pytest.mark.parametrize("panel", SHOWN.values(), ids=SHOWN.keys())
GRAFANAS_UNITS = {
    *("none", "short", "percentunit", "s", "bytes", "Bps", "ops", "currencyUSD"),
    "dateTimeAsIso",
}
VARIABLES = ["datasource", "run", "instance", "window", "price"]
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def test_the_files_are_what_the_generator_writes() -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in DIRECTORY.glob("*.json")}
    assert set(committed) == {"job.json", "gpus.json", "store.json", "quality.json"}
    assert committed == render.files(), "run `dreambatch dashboards render --to dashboards`"


@EVERY_BOARD
def test_grafana_can_load_it(board: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-z-]{1,40}", board["uid"])
    assert board["title"].startswith("dreambatch: ")
    assert board["description"].endswith(".")
    assert (board["schemaVersion"], board["editable"]) == (39, False)
    assert "id" not in board, "an id of its own would take another dashboard's place"
    assert board["tags"] == ["dreambatch"]
    numbers = [panel["id"] for panel in panels(board)]
    assert len(numbers) == len(set(numbers))
    assert all(isinstance(number, int) and number > 0 for number in numbers)
    json.dumps(board, allow_nan=False)


def test_no_two_are_one() -> None:
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS) == 4
    assert len({board["title"] for board in BOARDS.values()}) == 4


@EVERY_BOARD
def test_panels_do_not_overlap(board: dict[str, Any]) -> None:
    cells = _cells(board["panels"])
    assert len(cells) == len(set(cells))
    assert {x for x, _ in cells} == set(range(24))
    depth = max(y for _, y in cells)
    assert {y for _, y in cells} == set(range(depth + 1)), "an empty line"
    for row in board["panels"]:
        if row.get("collapsed"):
            inside = _cells(row["panels"])
            assert len(inside) == len(set(inside))
            assert min(y for _, y in inside) == row["gridPos"]["y"] + 1


def test_only_folded_rows_hold_their_panels() -> None:
    rows = [row for board in BOARDS.values() for row in board["panels"] if row["type"] == "row"]
    assert [row["title"] for row in rows if row["collapsed"]] == ["Runbook"]
    for row in rows:
        assert bool(row["panels"]) == row["collapsed"]


@EVERY_PANEL
def test_panels_say_what_they_show(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    unit = panel["fieldConfig"]["defaults"]["unit"]
    assert unit in GRAFANAS_UNITS or re.fullmatch(r"suffix: \S+", unit)
    assert panel["targets"]
    for part in (panel, *panel["targets"]):
        assert part["datasource"] == DATASOURCE
    legends = [target["legendFormat"] for target in panel["targets"]]
    assert all(legends)
    assert len(set(legends)) == len({target["refId"] for target in panel["targets"]})
    assert "NaN" not in json.dumps(panel)


def test_titles_are_unique_within_a_dashboard() -> None:
    shown = [
        p for board in BOARDS.values() for p in panels(board) if p["type"] not in ("row", "text")
    ]
    assert len(SHOWN) == len(shown)


def test_heatmaps_read_buckets() -> None:
    maps = [panel for panel in SHOWN.values() if panel["type"] == "heatmap"]
    assert maps
    for panel in maps:
        (target,) = panel["targets"]
        assert (target["format"], target["legendFormat"]) == ("heatmap", "{{le}}")
        assert re.match(r"sum by \(le\) \(increase\(\w+_bucket\{", target["expr"])
        assert panel["options"]["calculate"] is False
        assert panel["options"]["yAxis"]["unit"] == panel["fieldConfig"]["defaults"]["unit"]


@EVERY_BOARD
def test_variables_are_declared_before_they_are_used(board: dict[str, Any]) -> None:
    """Queries of variables use those above them; links take all along, so all have the same."""
    seen = set()
    for variable in board["templating"]["list"]:
        asked = json.dumps(variable.get("query", ""))
        assert set(re.findall(r"\$(\w+)", asked)) <= seen
        seen.add(variable["name"])
        if variable["type"] == "query":
            assert variable["datasource"] == DATASOURCE
            assert variable["definition"] == variable["query"]["query"]
    assert [variable["name"] for variable in board["templating"]["list"]] == VARIABLES
    expressions = [t["expr"] for panel in panels(board) for t in panel.get("targets", [])]
    used = {name for text in expressions for name in re.findall(r"\$(\w+)", text)}
    assert used <= {*VARIABLES, "__rate_interval"}


def test_the_price_is_a_field_and_is_asked_for() -> None:
    (price,) = (v for v in BOARDS["job"]["templating"]["list"] if v["name"] == "price")
    assert (price["type"], price["label"]) == ("textbox", "USD a GPU hour")
    assert float(price["current"]["value"]) > 0
    for title in ("job: Cost of this run", "job: Cost of an asset", "gpus: Cost of an asset"):
        (target,) = SHOWN[title]["targets"]
        assert "$price" in target["expr"]
        assert SHOWN[title]["fieldConfig"]["defaults"]["unit"] == "currencyUSD"


def test_what_has_one_meaning_has_one_colour() -> None:
    colours: dict[str, set[str]] = {}
    for panel in SHOWN.values():
        for override in panel["fieldConfig"]["overrides"]:
            (colour,) = override["properties"]
            assert override["matcher"]["id"] == "byName"
            name = override["matcher"]["options"]
            colours.setdefault(name, set()).add(colour["value"]["fixedColor"])
    assert all(len(found) == 1 for found in colours.values())
    assert colours["committed"] == {"green"}
    assert colours["failed"] == {"red"}


def _cells(placed: list[dict[str, Any]]) -> list[tuple[int, int]]:
    return [
        (x, y)
        for position in (panel["gridPos"] for panel in placed)
        for x in range(position["x"], position["x"] + position["w"])
        for y in range(position["y"], position["y"] + position["h"])
    ]
