"""Range queries as Prometheus takes them, and every way in which it may not answer."""

import json
import math
import socket

import pytest

from pipeline.dashboards.preview import prometheus
from pipeline.dashboards.preview.prometheus import Span
from pipeline.errors import UserError
from tests.pipeline.dashboards.fake_prometheus import serving

SPAN = Span(start=1000.0, end=1600.0)


def test_a_query_is_asked_as_it_is_and_its_answer_read() -> None:
    with serving() as fake:
        found = prometheus.query(fake.url + "/")(
            'sum by (state) (dreambatch_queue{a="b c"})', SPAN, 60
        )
    (said,) = fake.asked
    assert said == {
        "query": 'sum by (state) (dreambatch_queue{a="b c"})',
        "start": "1000.0",
        "end": "1600.0",
        "step": "60",
    }
    assert [series.labels for series in found] == [{"state": "state0"}, {"state": "state1"}]
    assert found[0].times == tuple(1000.0 + 60 * k for k in range(11))
    assert found[0].values[0] == 2.0


def test_what_is_no_number_stays_so() -> None:
    result = [{"metric": {}, "values": [[1, "NaN"], [2, "+Inf"], [3, "0.5"]]}]
    with serving() as fake:
        fake.refusal = 200, json.dumps({"data": {"result": result}})
        (series,) = prometheus.query(fake.url)("up", SPAN, 1)
    assert math.isnan(series.values[0])
    assert series.values[1:] == (math.inf, 0.5)


@pytest.mark.parametrize(
    ("code", "text", "word"),
    [
        (400, json.dumps({"error": "parse error: unexpected )"}), "parse error: unexpected )"),
        (502, "<html>", "HTTP 502"),
        (500, json.dumps([]), "HTTP 500"),
        (200, "<html>", "no Prometheus"),
        (200, json.dumps({"status": "success"}), "no Prometheus"),
        (200, json.dumps([1]), "no Prometheus"),
    ],
)
def test_a_refusal_is_one_line(code: int, text: str, word: str) -> None:
    with serving() as fake:
        fake.refusal = code, text
        with pytest.raises(UserError) as caught:
            prometheus.query(fake.url)("up", SPAN, 1)
    assert word in str(caught.value)
    assert str(caught.value).startswith(f"--prometheus {fake.url}: ")


def test_nobody_answers() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(UserError, match="no answer"):
            prometheus.query(url)("up", SPAN, 1)


@pytest.mark.parametrize("url", ["localhost:9090", "file:///etc/hostname", ""])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(UserError, match="expected such as http://"):
        prometheus.query(url)


def test_steps_are_not_below_the_scrapes() -> None:
    assert SPAN.step(10) == 60.0
    assert SPAN.step(100) == 15.0
    # Grafana's rule: the larger of step + scrape and four scrapes.
    assert SPAN.rate_interval(10) == "75000ms"
    assert SPAN.rate_interval(100) == "60000ms"
