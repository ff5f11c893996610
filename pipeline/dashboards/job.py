"""*Job*: how far a run is, how fast, what fails, what it costs; and the runbook of all alerts."""

from pipeline.dashboards import cost, runbook
from pipeline.dashboards.frame import dashboard
from pipeline.dashboards.links import alert, sibling
from pipeline.dashboards.panels import Json, series, stat, text
from pipeline.dashboards.promql import added, ended, increase, of, quantiles, rate

_LEFT = f"sum ({of('queue')})"
_DONE = added("assets_total", "status", ("committed", "duplicate", "skipped"))
_LOST = rate("attempts_total", 'outcome=~"failed|lost|preempted"')


def build() -> Json:
    """The whole dashboard."""
    rows = {
        "Progress": [*_progress(), *_flow()],
        "Failures": [*_given_up(), *_failures()],
        "Cost": _cost(),
    }
    return dashboard(
        "job",
        "One run, from its manifest to its committed assets.",
        rows,
        folded={"Runbook": _runbook()},
    )


def _progress() -> list[Json]:
    return [
        stat(
            "Progress",
            "Part of the assets that lie in the store. Rejected rows and quarantined prompts are "
            "left out.",
            "percentunit",
            {"done": f"({_DONE}) / on () ({_DONE} + on () {_LEFT})"},
            alert("DreambatchNothingYet"),
        ),
        stat(
            "To do",
            "Assets that are not finished.",
            "short",
            {"left": _LEFT},
            sibling("gpus", "who works on them"),
        ),
        stat(
            "Time left",
            "Assets to do, by the rate at which they ended in the window; nothing while none ends.",
            "s",
            {"left": f"{_LEFT} / (sum ({ended()}) > 0)"},
            sibling("gpus", "what an asset takes"),
        ),
        stat(
            "Since the last commit",
            "Age of the newest committed asset; nothing before the first. After the end of a run "
            "it stays as it was at the last scrape.",
            "s",
            {"age": f"time() - ({of('last_commit_timestamp_seconds')} > 0)"},
            alert("DreambatchStalled"),
        ),
        stat(
            "Run",
            "Recipe, weights and version of the run.",
            "none",
            {"{{recipe}} · {{guidance_digest}} · {{version}}": of("run_info")},
            sibling("quality", "what such a recipe makes"),
            width=8,
            show="name",
        ),
    ]


def _flow() -> list[Json]:
    return [
        series(
            "Assets an hour",
            "Rate at which assets come to an end, by the end they come to.",
            "suffix: /h",
            {"{{status}}": f"3600 * sum by (status) ({ended()})"},
            alert("DreambatchStalled"),
            width=8,
            stacked=True,
        ),
        series(
            "Queue",
            "Assets that are not finished. suspect: waits to run alone, after its actor died.",
            "short",
            {"{{state}}": f"sum by (state) ({of('queue')})"},
            sibling("gpus", "slots and actors"),
            width=8,
            stacked=True,
        ),
        series(
            "Seconds an asset",
            "Wall time from the first order to the commit: quantiles of the assets in the window.",
            "s",
            quantiles(rate("asset_seconds_bucket")),
            sibling("gpus", "seconds a stage"),
            width=8,
        ),
    ]


def _given_up() -> list[Json]:
    return [
        stat(
            "Quarantined",
            "Prompts this run has given up; the reasons lie in _failures/.",
            "short",
            {"quarantined": of("assets_total", 'status="quarantined"')},
            alert("DreambatchQuarantine"),
            width=6,
        ),
        stat(
            "Rejected",
            "Rows of the manifest that are no prompt; the reasons lie in _rejected/.",
            "short",
            {"rejected": of("assets_total", 'status="rejected"')},
            alert("DreambatchQuarantine"),
            width=6,
        ),
        stat(
            "Attempts without an asset",
            "Part of the attempts in the window that ended without one.",
            "percentunit",
            {"failed": f"sum ({_LOST}) / (sum ({rate('attempts_total')}) > 0)"},
            alert("DreambatchFailures"),
            width=6,
        ),
        stat(
            "Actors lost",
            "Actors that went away in the window.",
            "short",
            {"lost": f"sum ({increase('actors_lost_total')})"},
            sibling("gpus", "slots and actors"),
            width=6,
        ),
    ]


def _failures() -> list[Json]:
    nothing = 'label_replace(vector(0), "kind", "none", "", "")'
    return [
        series(
            "Failed attempts",
            "Part of the attempts that ended without an asset. lost: the actor went away. "
            "preempted: it was asked to leave.",
            "percentunit",
            {
                "{{outcome}}": f"sum by (outcome) ({_LOST}) / on () group_left () "
                f"(sum ({rate('attempts_total')}) > 0)"
            },
            alert("DreambatchFailures"),
        ),
        series(
            "Retries",
            "Attempts ordered again in the window, by the error that made them necessary.",
            "short",
            {"{{kind}}": f"sum by (kind) ({increase('retries_total')}) > 0 or on () {nothing}"},
            alert("DreambatchFailures"),
        ),
    ]


def _cost() -> list[Json]:
    rates = rate("gpu_seconds_total")
    return [
        stat(
            "Cost of this run",
            "Device time since its driver started, useful or not, at the price above. What idle "
            "machines cost comes on top: see GPUs rented.",
            "currencyUSD",
            {"spent": cost.dollars(cost.SPENT)},
            sibling("gpus", "GPUs rented"),
            width=8,
        ),
        stat(
            "Cost of an asset",
            "Cost of this run by the assets it has committed, so that what was wasted is in it.",
            "currencyUSD",
            {"an asset": cost.of_an_asset()},
            sibling("gpus", "what one asset costs"),
            width=8,
        ),
        stat(
            "Cost at the end",
            "Cost of this run, and of what is to do if it costs as much an asset.",
            "currencyUSD",
            {"in all": cost.at_the_end(_LEFT)},
            sibling("gpus", "what one asset costs"),
            width=8,
        ),
        series(
            "Cost an hour",
            "Device time at the price above, by what became of it.",
            "currencyUSD",
            {"{{outcome}}": f"3600 * {cost.dollars(f'sum by (outcome) ({rates})')}"},
            sibling("gpus", "useful against wasted"),
            width=24,
            stacked=True,
        ),
    ]


def _runbook() -> list[Json]:
    return [
        text(name, chapter) | {"id": runbook.panel_id(name)}
        for name, chapter in runbook.chapters().items()
    ]
