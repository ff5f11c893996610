"""The queries of the committed dashboards, as Grafana would send them, and the parts of alerts.

Whatever JSON files lie in dashboards/ are read. Variables are filled in in the order of their
declaration: those that the caller chooses, those that Prometheus is asked for, those with a value
of their own.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.clusters import ROOT
from tests.monitoring.prometheus import Prometheus

Json = Mapping[str, Any]

DASHBOARDS = ROOT / "dashboards"
_OWN = {"__rate_interval": "20s", "__interval": "1s", "__range": "10m"}
"""Grafana's own variables, for a scrape every two seconds and a look at some minutes."""
_LABEL_VALUES = re.compile(r"label_values\((?:(?P<series>.+), *)?(?P<label>\w+)\)")
_VARIABLE = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)|\[\[(\w+)\]\]")
_SETS = re.compile(r"(?:and|or|unless)\b(?:\s+(?:on|ignoring)\s*\([^)]*\))?")
_COMPARISON = re.compile(r"[<>]=?|[!=]=")
_NUMBER = re.compile(r"[-+\d.eE\s]+")


@dataclass(frozen=True, kw_only=True)
class Query:
    """One expression of one panel, ready for Prometheus."""

    dashboard: str
    panel: str
    legend: str
    expression: str

    @property
    def name(self) -> str:
        """Who it is, in a message."""
        return f"{self.dashboard} / {self.panel} / {self.legend}"


def dashboards() -> dict[str, Json]:
    """The committed files by their names."""
    paths = sorted(DASHBOARDS.glob("*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def queries(prometheus: Prometheus, chosen: Mapping[str, str]) -> list[Query]:
    """Every expression of every dashboard; `chosen` are the values of variables by name."""
    found = []
    for name, dashboard in dashboards().items():
        values = variables(dashboard, prometheus, chosen)
        found += [
            Query(
                dashboard=name,
                panel=panel["title"],
                legend=target.get("legendFormat", ""),
                expression=fill(target["expr"], values),
            )
            for panel in _panels(dashboard)
            for target in panel.get("targets", [])
        ]
    return found


def _panels(dashboard: Json) -> Iterator[Json]:
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])  # of a row that is folded


def variables(dashboard: Json, prometheus: Prometheus, chosen: Mapping[str, str]) -> dict[str, str]:
    """The value of each variable of a dashboard."""
    values = dict(_OWN)
    for variable in dashboard.get("templating", {}).get("list", []):
        name = variable["name"]
        if variable["type"] == "datasource":
            continue
        if name in chosen:
            values[name] = chosen[name]
        elif variable["type"] == "query":
            values[name] = _asked(variable, prometheus, values)
        else:
            current = variable.get("current", {}).get("value")
            values[name] = str(current or variable["query"].split(",")[0].strip())
    return values


def _asked(variable: Json, prometheus: Prometheus, values: Mapping[str, str]) -> str:
    """The first value that Grafana would offer, or all of them where it begins with all."""
    if variable.get("includeAll"):
        return variable.get("allValue") or ".*"
    query = variable["query"]
    text = fill(query if isinstance(query, str) else query["query"], values)
    parts = _LABEL_VALUES.fullmatch(text.strip())
    assert parts is not None, f"variable {variable['name']}: {text} is not understood"
    match = {"match[]": parts["series"]} if parts["series"] else {}
    offered = sorted(prometheus.call(f"label/{parts['label']}/values", **match))
    assert offered, f"variable {variable['name']}: nothing is offered for {text}"
    return offered[-1 if variable.get("sort") == 2 else 0]


def fill(text: str, values: Mapping[str, str]) -> str:
    """A text with its variables filled in; KeyError for one that nobody declares."""
    return _VARIABLE.sub(lambda found: values[found[1] or found[2] or found[3]], text)


def operands(expression: str) -> list[str]:
    """What an alert compares: both sides of each comparison that `and`, `or` and `unless` join,
    plain numbers left out. They have to have data where the alert itself has to be silent."""
    return [
        side.strip()
        for part in _split(expression, _SETS)
        for side in _split(part, _COMPARISON)
        if not _NUMBER.fullmatch(side)
    ]


def _split(expression: str, separator: re.Pattern[str]) -> list[str]:
    """The parts between separators that lie in no bracket and in no quotes."""
    parts, start, position, depth = [], 0, 0, 0
    while position < len(expression):
        character = expression[position]
        if character == '"':
            position = expression.index('"', position + 1)
        depth += (character in "({[") - (character in ")}]")
        is_inside_word = bool(re.match(r"\w\w", expression[max(position - 1, 0) : position + 1]))
        found = None if depth or is_inside_word else separator.match(expression, position)
        if found is None:
            position += 1
        else:
            parts.append(expression[start:position])
            start = position = found.end()
    return [*parts, expression[start:]]
