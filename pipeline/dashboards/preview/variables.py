"""A dashboard's variables: their values, and expressions with the values in their places."""

import math
import re
from collections.abc import Iterator, Mapping

from pipeline.dashboards.panels import Json
from pipeline.dashboards.preview.prometheus import MOST_POINTS, Query, Span
from pipeline.errors import UserError

NUM_POINTS = 240
"""Points of a line."""

_NAME = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))")
_LABEL_VALUES = re.compile(r"label_values\((.+), (\w+)\)")


def substitute(text: str, values: Mapping[str, str]) -> str:
    """Puts values for `$name`, `${name}` and `${name:format}`; KeyError for one that has none."""
    return _NAME.sub(lambda found: values[found[1] or found[2]], text)


def resolve(dashboard: Json, query: Query, span: Span, given: Mapping[str, str]) -> dict[str, str]:
    """The value of every variable: the `given` one, or Grafana's choice.

    That is the newest of the values that Prometheus has, or the default. UserError where there is
    none.
    """
    values = {"__rate_interval": span.rate_interval(NUM_POINTS)}
    for variable in dashboard["templating"]["list"]:
        name = variable["name"]
        if name in given:
            values[name] = given[name]
        elif variable["type"] == "query":
            values[name] = _newest(substitute(variable["query"]["query"], values), query, span)
        elif variable["type"] != "datasource":
            values[name] = variable["current"]["value"]
    return values


def expressions(dashboard: Json, values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Every panel's title with each of its expressions, ready to be asked."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], substitute(target["expr"], values)


def lifetime(query: Query, span: Span, run: str) -> Span:
    """The part of a span in which a run was scraped. UserError where it was not."""
    step = max(span.step(MOST_POINTS - 1), span.scrape_seconds)
    found = query(f'dreambatch_run_info{{run_id="{run}"}}', span, step)
    if not found:
        raise UserError(f"--run {run}: not among the runs that Prometheus has of these hours")
    times = [time for series in found for time in series.times]
    start, end = min(times) - step, max(times)
    # A run of a few scrapes is given some width.
    return Span(
        start=math.floor(min(start, end - 8 * span.scrape_seconds)),
        end=math.ceil(end),
        scrape_seconds=span.scrape_seconds,
    )


def _newest(definition: str, query: Query, span: Span) -> str:
    """The last of a label's values, as run ids begin with their time."""
    found = _LABEL_VALUES.fullmatch(definition)
    assert found, definition
    step = max(span.step(MOST_POINTS - 1), span.scrape_seconds)
    labels = {series.labels[found[2]] for series in query(found[1], span, step)}
    if not labels:
        raise UserError(f"Prometheus has no {found[1]} in these hours: was a run scraped?")
    return max(labels)
