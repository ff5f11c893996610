"""Variables get Grafana's values, and no expression keeps a name."""

import pytest

from pipeline.dashboards import render
from pipeline.dashboards.preview import prometheus, variables
from pipeline.dashboards.preview.prometheus import Query, Series, Span
from pipeline.errors import UserError
from tests.pipeline.dashboards.fake_prometheus import serving

BOARDS = render.dashboards()
SPAN = Span(start=0.0, end=3600.0)


def test_names_in_every_form_are_replaced() -> None:
    values = {"a": "1", "ab": "2"}
    assert variables.substitute("$a $ab ${a} ${ab:raw} a $a)", values) == "1 2 1 2 a 1)"
    with pytest.raises(KeyError):
        variables.substitute("$nobody", values)


def test_the_newest_run_is_taken_and_its_own_instance() -> None:
    with serving() as fake:
        values = variables.resolve(BOARDS["job"], prometheus.query(fake.url), SPAN, {})
    assert values["run"] == "20260102T000000-new"
    assert values["instance"] == "b:2"
    assert (values["window"], values["price"]) == ("15m", "1")
    assert "datasource" not in values


def test_what_is_given_is_taken() -> None:
    given = {"run": "20260101T000000-old", "window": "30s", "price": "2.5"}
    with serving() as fake:
        values = variables.resolve(BOARDS["job"], prometheus.query(fake.url), SPAN, given)
    assert values["instance"] == "a:1", "the instance of the run that was given"
    assert given.items() <= values.items()


def test_a_prometheus_without_runs_is_said() -> None:
    with serving() as fake:
        fake.is_empty = True
        with pytest.raises(UserError, match="was a run scraped"):
            variables.resolve(BOARDS["job"], prometheus.query(fake.url), SPAN, {})
        with pytest.raises(UserError, match="--run x: not among"):
            variables.lifetime(prometheus.query(fake.url), SPAN, "x")


@pytest.mark.parametrize("name", BOARDS)
def test_every_expression_is_ready_to_be_asked(name: str) -> None:
    values = {"instance": "h:1", "window": "5m", "__rate_interval": "1m", "price": "2"}
    board = BOARDS[name]
    found = list(variables.expressions(board, values))
    assert not any("$" in expression for _, expression in found)
    assert len(found) == sum(len(panel.get("targets", [])) for panel in board["panels"])
    assert {title for title, _ in found} == {p["title"] for p in board["panels"] if "targets" in p}


def _scraped_at(*times: float) -> Query:
    def query(expression: str, span: Span, step: float) -> list[Series]:
        assert expression == 'dreambatch_run_info{run_id="r"}'
        assert (span.end - span.start) / step < prometheus.MOST_POINTS
        return [Series(labels={}, times=times, values=(1.0,) * len(times))]

    return query


def test_the_life_of_a_run_is_where_it_was_scraped() -> None:
    span = Span(start=0.0, end=1e6, scrape_seconds=2.0)
    life = variables.lifetime(_scraped_at(5000.0, 5100.0, 9000.0), span, "r")
    assert 4900 <= life.start < 5000
    assert life.end == 9000
    assert life.scrape_seconds == 2.0


def test_a_short_life_has_some_width() -> None:
    life = variables.lifetime(_scraped_at(5000.0), SPAN, "r")
    assert life.end - life.start == 8 * 15
