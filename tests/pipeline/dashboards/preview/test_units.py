"""Values in their units, against what Grafana writes."""

import math

import pytest

from pipeline.dashboards.preview import units
from tests.dashboards.conftest import SHOWN


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "short", "0"),
        (42.0, "short", "42"),
        (999.0, "short", "999"),
        (1530.0, "short", "1.53 K"),
        (-2.5e6, "short", "-2.5 M"),
        (0.123456, "none", "0.123"),
        (1530.0, "none", "1530"),
        (0.558, "percentunit", "55.8%"),
        (1.0, "percentunit", "100%"),
        (0.0, "s", "0 s"),
        (2.5e-5, "s", "25 µs"),
        (0.0123, "s", "12.3 ms"),
        (59.0, "s", "59 s"),
        (107.0, "s", "1.78 min"),
        (7200.0, "s", "2 h"),
        (172800.0, "s", "2 d"),
        (0.0, "bytes", "0 B"),
        (512.0, "bytes", "512 B"),
        (1536.0, "bytes", "1.5 KiB"),
        (3 * 1024**3, "bytes", "3 GiB"),
        (0.0, "Bps", "0 B/s"),
        (450_000.0, "Bps", "450 KB/s"),
        (0.0749, "currencyUSD", "$0.0749"),
        (1234.0, "currencyUSD", "$1.23K"),
        (9.8, "ops", "9.8 ops/s"),
        (1600.0, "suffix: /h", "1.6 K /h"),
        (0.0, "dateTimeAsIso", "1970-01-01 00:00:00"),
        (math.nan, "s", "no data"),
        (math.inf, "s", "inf"),
    ],
)
def test_a_value(value: float, unit: str, text: str) -> None:
    assert units.text(value, unit) == text


@pytest.mark.parametrize("panel", SHOWN.values(), ids=SHOWN.keys())
def test_every_unit_of_the_dashboards_is_known(panel: dict) -> None:
    assert units.text(1.0, panel["fieldConfig"]["defaults"]["unit"])


def test_another_unit_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="furlong"):
        units.text(1.0, "furlong")
