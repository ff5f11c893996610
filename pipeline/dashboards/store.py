"""*Store and driver*: what is written, how the output answers, whether the driver keeps up."""

from pipeline.dashboards.frame import dashboard
from pipeline.dashboards.links import alert, ray, sibling
from pipeline.dashboards.panels import Json, series, stat
from pipeline.dashboards.promql import STEADY, increase, of, quantile, quantiles, rate

_OPERATIONS = rate("store_operations_total")
_FAILED = rate("store_operations_total", 'result=~"passing|full"')


def build() -> Json:
    """The whole dashboard."""
    rows = {
        "Written": [*_glance(), *_written()],
        "Operations on the output": _operations(),
        "Driver": _driver(),
    }
    return dashboard("store", "A run's output and its driver.", rows)


def _glance() -> list[Json]:
    committed = rate("assets_total", 'status="committed"')
    return [
        stat(
            "Written in all",
            "Bytes of the assets that this run has committed.",
            "bytes",
            {"assets": of("output_bytes_total")},
            sibling("job", "progress"),
        ),
        stat(
            "Bytes an asset",
            "Mean size of the assets committed in the window.",
            "bytes",
            {"an asset": f"sum ({rate('output_bytes_total')}) / sum ({committed} > 0)"},
            sibling("quality", "triangles"),
        ),
        stat(
            "Operations failed",
            "Part of the driver's operations on the output in the window that failed in passing, "
            "or because it was full.",
            "percentunit",
            {"failed": f"(sum ({_FAILED}) or vector(0)) / (sum ({_OPERATIONS}) > 0)"},
            alert("DreambatchStoreErrors"),
        ),
        stat(
            "Conflicts",
            "Finished assets that another run had committed first: two runs share an output.",
            "short",
            {"conflicts": of("commit_conflicts_total")},
            sibling("gpus", "useful against wasted"),
        ),
        stat(
            "Last commit",
            "When the newest asset was committed; nothing before the first.",
            "dateTimeAsIso",
            {"last": f"1000 * ({of('last_commit_timestamp_seconds')} > 0)"},
            alert("DreambatchStalled"),
            width=8,
        ),
    ]


def _written() -> list[Json]:
    return [
        series(
            "Written",
            "Bytes of committed assets a second.",
            "Bps",
            {"assets": f"sum ({rate('output_bytes_total')})"},
            sibling("job", "assets an hour"),
        ),
        series(
            "Commit conflicts",
            "Finished assets in the window that another run had committed first.",
            "short",
            {"conflicts": f"sum ({increase('commit_conflicts_total')})"},
            sibling("gpus", "useful against wasted"),
        ),
    ]


def _operations() -> list[Json]:
    return [
        series(
            "Store operations",
            "The driver's operations on the output a second, by what came of them. passing: worth "
            "another try. refused: not.",
            "ops",
            {"{{operation}} {{result}}": f"sum by (operation, result) ({_OPERATIONS}) > 0"},
            alert("DreambatchStoreErrors"),
        ),
        series(
            "Seconds an operation",
            "95th percentile of the driver's operations on the output.",
            "s",
            {"{{operation}}": quantile(0.95, "operation", rate("store_operation_seconds_bucket"))},
            alert("DreambatchStoreErrors"),
        ),
    ]


def _driver() -> list[Json]:
    head = '{IsHeadNode="true"}'
    return [
        series(
            "Driver loop",
            "CPU time of one turn of the driver's loop: above a second it holds the actors up.",
            "s",
            quantiles(rate("driver_loop_seconds_bucket", window=STEADY)),
            sibling("gpus", "slots"),
        ),
        series(
            "Head memory",
            "Part of the head's memory in use, of all heads that are scraped; the driver lives "
            "there.",
            "percentunit",
            {
                "{{instance}}": f"max by (instance) (ray_node_mem_used{head})"
                f" / max by (instance) (ray_node_mem_total{head})"
            },
            [*alert("DreambatchHeadMemory"), *ray()],
        ),
    ]
