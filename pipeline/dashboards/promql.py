"""Queries of the driver's metrics in the chosen run.

Counters are turned into rates before they are summed. Raw ones are shown as they are, or added by
name: a sum over processes would jump whenever one of them starts anew.
"""

from collections.abc import Mapping, Sequence

from pipeline.metrics import METRICS

Queries = Mapping[str, str]
"""PromQL by legend; Grafana puts a label's value for `{{label}}`."""

STEADY = "$__rate_interval"
"""The window of what happens all the time."""


def of(name: str, matcher: str = "") -> str:
    """The series of a driver's metric."""
    matchers = ", ".join(filter(None, ('instance="$instance"', matcher)))
    return f"dreambatch_{name}{{{matchers}}}"


def rate(name: str, matcher: str = "", *, window: str = "$window") -> str:
    """How much a counter grows a second."""
    return f"rate({of(name, matcher)}[{window}])"


def increase(name: str, matcher: str = "", *, window: str = "$window") -> str:
    """How much a counter grows in the window."""
    return f"increase({of(name, matcher)}[{window}])"


def added(name: str, label: str, values: Sequence[str] = ()) -> str:
    """A counter of one label, added up over these values, or over all that are declared."""
    values = values or METRICS[name].labels[label]
    return f" + ignoring ({label}) ".join(of(name, f'{label}="{value}"') for value in values)


def quantile(share: float, by: str, buckets: str) -> str:
    """A quantile of a histogram's rated buckets, for each value of the labels `by`."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) ({buckets}))"


def quantiles(buckets: str, percents: Sequence[int] = (50, 95), *, by: str = "") -> Queries:
    """Several quantiles of a histogram's rated buckets; of each value of the label `by`."""
    label = f"{{{{{by}}}}} " if by else ""
    return {f"{label}p{p}": quantile(p / 100, by, buckets) for p in percents}


def ended() -> str:
    """Rate at which assets come to an end, by status."""
    return rate("assets_total", 'status=~"committed|duplicate|quarantined"')
