"""Values in their units, as Grafana writes them."""

import datetime
import math

_TIMES = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_THOUSANDS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K"), (1.0, ""))
_BINARY = tuple(
    (1024.0**k, f"{prefix}iB") for k, prefix in ((4, "T"), (3, "G"), (2, "M"), (1, "K"))
)


def text(value: float, unit: str) -> str:
    """A value with its unit; AssertionError for a unit that no dashboard has."""
    if not math.isfinite(value):
        return "no data" if math.isnan(value) else str(value)
    if unit == "percentunit":
        return f"{_short(100 * value)}%"
    if unit == "s":
        return _scaled(value, _TIMES, " ")
    if unit == "bytes":
        return _scaled(value, (*_BINARY, (1.0, "B")), " ")
    if unit == "Bps":
        return f"{_scaled(value, _THOUSANDS, ' ').rstrip()}{'' if value >= 1000 else ' '}B/s"
    if unit == "currencyUSD":
        return f"${_scaled(value, _THOUSANDS, '')}"
    if unit == "dateTimeAsIso":
        moment = datetime.datetime.fromtimestamp(value / 1000, datetime.UTC)
        return moment.strftime("%Y-%m-%d %H:%M:%S")
    if unit == "ops":
        return f"{_scaled(value, _THOUSANDS, ' ').rstrip()} ops/s"
    if unit.startswith("suffix: "):
        return f"{_scaled(value, _THOUSANDS, ' ').rstrip()} {unit.removeprefix('suffix: ')}"
    assert unit in ("short", "none"), unit
    return _scaled(value, _THOUSANDS, " ").rstrip() if unit == "short" else _short(value)


def _scaled(value: float, scales: tuple[tuple[float, str], ...], gap: str) -> str:
    """In the largest of the scales that leaves a figure of 1 or more."""
    for size, name in scales:
        if abs(value) >= size:
            return f"{_short(value / size)}{gap}{name}"
    # Zero, and what is below the smallest.
    size, name = (1.0, "s") if scales is _TIMES else scales[-1]
    return f"{_short(value / size)}{gap}{name}"


def _short(value: float) -> str:
    """Three figures, and all those of a whole number."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
