"""What device time costs, by the reader's `$price` of a GPU's hour."""

from pipeline.dashboards.promql import added, of, rate

HOUR = 3600

SPENT = added("gpu_seconds_total", "outcome")
"""GPU seconds of this driver, for an asset or for nothing."""

_COMMITTED = of("assets_total", 'status="committed"')


def dollars(gpu_seconds: str) -> str:
    """What these GPU seconds cost, in US dollars."""
    return f"({gpu_seconds}) / {HOUR} * $price"


def of_an_asset() -> str:
    """What a committed asset of this run has cost, waste included; nothing before the first."""
    return dollars(f"({SPENT}) / on () ({_COMMITTED} > 0)")


def at_the_end(left: str) -> str:
    """What this run will have cost when as many assets as are `left` have cost as much each."""
    return dollars(f"({SPENT}) * on () (1 + {left} / on () ({_COMMITTED} > 0))")


def seconds_an_asset(matcher: str = "") -> str:
    """GPU seconds for each asset that was committed in the window."""
    committed = rate("assets_total", 'status="committed"')
    return f"sum ({rate('gpu_seconds_total', matcher)}) / sum ({committed} > 0)"
