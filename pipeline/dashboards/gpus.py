"""*GPUs and slots*: what one asset costs, where its time goes, who works and who waits."""

from pipeline.dashboards import cost
from pipeline.dashboards.frame import dashboard
from pipeline.dashboards.links import alert, ray, sibling
from pipeline.dashboards.panels import Json, series, stat
from pipeline.dashboards.promql import STEADY, increase, of, quantile, rate

_SPENT = rate("gpu_seconds_total")


def build() -> Json:
    """The whole dashboard."""
    rows = {
        "What one asset costs": [*_cost(), *_pace(), *_stages()],
        "One step": _steps(),
        "Useful and wasted": _device_time(),
        "Slots and actors": [*_slots(), *_actors()],
    }
    return dashboard("gpus", "What a run's GPUs do, and what an asset takes of them.", rows)


def _cost() -> list[Json]:
    wasted = rate("gpu_seconds_total", 'outcome!="committed"')
    useful = cost.seconds_an_asset('outcome="committed"')
    return [
        stat(
            "GPU seconds an asset",
            "Device time of the committed attempts, for each asset committed in the window.",
            "s",
            {"useful": useful},
            sibling("job", "cost of this run"),
        ),
        stat(
            "Cost of an asset",
            "All device time in the window at the price above, wasted or not, for each asset "
            "committed.",
            "currencyUSD",
            {"an asset": cost.dollars(cost.seconds_an_asset())},
            sibling("job", "cost of this run"),
        ),
        stat(
            "GPU time wasted",
            "Part of the device time in the window that gave no asset of this run.",
            "percentunit",
            {"wasted": f"sum ({wasted}) / (sum ({_SPENT}) > 0)"},
            alert("DreambatchFailures"),
        ),
    ]


def _pace() -> list[Json]:
    busy = of("slots", 'state="busy"')
    return [
        stat(
            "Scene steps a second",
            "Optimisation steps of scenes a second, over all actors: a step of a gang counts once "
            "for each scene in it.",
            "suffix: steps/s",
            {"steps": of("steps_per_second")},
            ray(),
        ),
        stat(
            "Slots busy",
            "Part of all slots that hold a prompt.",
            "percentunit",
            {"busy": f"sum ({busy}) / (sum ({of('slots')}) > 0)"},
            ray(),
        ),
        stat(
            "Longest stillness",
            "The longest time for which an actor with work has not moved; --hang-minutes is its "
            "end.",
            "s",
            {"still": of("stuck_seconds")},
            alert("DreambatchStalled"),
        ),
    ]


def _stages() -> list[Json]:
    seconds, number = rate("stage_seconds_sum"), rate("stage_seconds_count")
    buckets = "rate(ray_dreambatch_actor_stage_seconds_bucket[$window])"
    return [
        series(
            "Seconds a stage",
            "Mean wall time of each stage, of the assets committed in the window; a prompt shares "
            "its GPU with the others of its gang. wait: for a slot.",
            "s",
            {"{{stage}}": f"sum by (stage) ({seconds}) / (sum by (stage) ({number}) > 0)"},
            sibling("job", "seconds an asset"),
            width=8,
            stacked=True,
        ),
        series(
            "GPU seconds an asset, over time",
            "For each asset committed in the window: the device time of committed attempts, and "
            "all of it. The gap is waste.",
            "s",
            {
                "useful": cost.seconds_an_asset('outcome="committed"'),
                "with waste": cost.seconds_an_asset(),
            },
            sibling("job", "cost of an asset"),
            width=8,
        ),
        series(
            "Seconds in the actors",
            "95th percentile of one admission, one step of a whole gang, one export, one commit, "
            "over all actors that are scraped, whatever their run.",
            "s",
            {"{{stage}}": quantile(0.95, "stage", buckets)},
            ray(),
            width=8,
        ),
    ]


def _steps() -> list[Json]:
    seconds = f"rate(ray_dreambatch_actor_step_part_seconds_sum[{STEADY}])"
    number = f"rate(ray_dreambatch_actor_step_part_seconds_count[{STEADY}])"
    by_part = f"sum by (part) ({seconds})"
    return [
        series(
            "Scene steps a second, over time",
            "Optimisation steps of scenes a second, over all actors.",
            "suffix: steps/s",
            {"steps": of("steps_per_second")},
            ray(),
            width=8,
        ),
        series(
            "U-Net share of the step",
            "Part of a step's device time. unet: forwards of the diffusion model. vae: its image "
            "encoder, both ways. field: rendering and its gradient. other: all else. Over all "
            "actors that are scraped, whatever their run.",
            "percentunit",
            {"{{part}}": f"{by_part} / on () group_left () (sum ({seconds}) > 0)"},
            ray(),
            width=8,
            stacked=True,
        ),
        series(
            "Seconds a step",
            "Mean device time of one step of a whole gang, by its parts. Over all actors that are "
            "scraped, whatever their run.",
            "s",
            {"{{part}}": f"{by_part} / (sum by (part) ({number}) > 0)"},
            ray(),
            width=8,
            stacked=True,
        ),
    ]


def _device_time() -> list[Json]:
    wasted = rate("wasted_gpu_seconds_total")
    nothing = 'label_replace(vector(0), "cause", "none", "", "")'
    return [
        series(
            "GPU seconds a second",
            "Device time by what became of it; only committed was useful. Booked when an attempt "
            "ends.",
            "short",
            {"{{outcome}}": f"sum by (outcome) ({_SPENT})"},
            sibling("job", "cost an hour"),
            width=8,
            stacked=True,
        ),
        series(
            "GPU seconds wasted a second",
            "Device time that gave no asset, by cause: duplicate, or the kind of the failure.",
            "short",
            {"{{cause}}": f"sum by (cause) ({wasted}) > 0 or on () {nothing}"},
            alert("DreambatchFailures"),
            width=8,
            stacked=True,
        ),
        series(
            "GPUs rented",
            "Actors, of which each holds one GPU, and GPU seconds a second, which are booked when "
            "an attempt ends. The gap is what was paid for and not used.",
            "short",
            {
                "rented": f"sum ({of('actors')})",
                "at work": f"sum ({_SPENT})",
            },
            sibling("job", "cost of this run"),
            width=8,
        ),
    ]


def _slots() -> list[Json]:
    return [
        series(
            "Slots",
            "Slots of all gangs. down: their actor is starting or recovering.",
            "short",
            {"{{state}}": f"sum by (state) ({of('slots')})"},
            alert("DreambatchStalled"),
            stacked=True,
        ),
        series(
            "Actors",
            "coming: starting or recovering. leaving: out of reach or asked to stop, with prompts "
            "of which nothing is known yet.",
            "short",
            {"{{state}}": f"sum by (state) ({of('actors')})"},
            ray(),
            stacked=True,
        ),
    ]


def _actors() -> list[Json]:
    return [
        series(
            "Actors lost",
            "Actors that went away in the window: their process died, their machine did, or they "
            "hung.",
            "short",
            {"{{cause}}": f"sum by (cause) ({increase('actors_lost_total')})"},
            alert("DreambatchFailures"),
        ),
        series(
            "Machines asked for",
            "Machines that Ray's autoscaler has asked for and that are not there yet, of all "
            "clusters that are scraped.",
            "short",
            {"{{NodeType}}": "sum by (NodeType) (autoscaler_pending_nodes)"},
            [*alert("DreambatchPendingNodes"), *ray()],
            stacked=True,
        ),
    ]
