"""`dreambatch simulate`: the real driver, planner, schedule and store on a cluster that is drawn.

What is real: `make_plan`, `Schedule`, `retry`, `Dispatcher`, `Ledger` with its metrics and display,
`Store.commit` and the checkpoints' way through the store. What is not: Ray, the GPUs, the network,
and time. So the driver's processor time here is all of its own and none of Ray's.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from pipeline.memory import peak_bytes
from pipeline.metrics import JobMetrics
from pipeline.plan import Plan, make_plan
from pipeline.records import Prompt
from pipeline.run.dispatch import Dispatcher
from pipeline.run.ledger import Ledger
from pipeline.run.progress import LineDisplay
from pipeline.run.schedule import Schedule
from pipeline.simulation.actor import decode
from pipeline.simulation.assumptions import Assumptions
from pipeline.simulation.fleet import SimulatedFleet
from pipeline.simulation.report import Report
from pipeline.simulation.world import World, open_world
from pipeline.storage.seals import unseal

_RECIPE = "simulated"


@dataclass(frozen=True, kw_only=True)
class _Driven:
    """What the driver counted, and what it cost."""

    ledger: Ledger
    retried: dict[str, int]
    cpu_seconds: float


def simulate(assumptions: Assumptions) -> Report:
    """Makes all prompts of a drawn manifest on a drawn cluster.

    UserError for assumptions that make no sense, RunError as a run has it.
    """
    assumptions.check()
    began = time.perf_counter()
    world = open_world(assumptions)
    plan = _plan(world)
    planned, planned_rss = time.perf_counter() - began, _peak_rss_mib()
    driven = _drive(world, plan)
    peak_rss = _peak_rss_mib()
    ends = _ends(world, plan)
    account, totals = world.account, driven.ledger.totals
    hours = 1 / 3600.0
    return Report(
        assumptions=assumptions,
        num_prompts=assumptions.prompts,
        num_committed=ends["committed"],
        num_quarantined=ends["quarantined"],
        num_rejected=len(plan.rejections),
        num_lost=ends["lost"],
        num_commits=account.num_commits,
        num_duplicates=totals.num_duplicate,
        num_unacknowledged=account.num_unacknowledged,
        num_attempts=account.num_attempts,
        quarantined=_quarantined(world),
        retried=driven.retried,
        makespan_seconds=world.timeline.now(),
        all_ready_seconds=account.all_ready,
        gpu_hours_held=account.held_seconds * hours,
        gpu_hours_useful=totals.gpu_seconds_useful * hours,
        gpu_hours_wasted={k: v * hours for k, v in totals.gpu_seconds_wasted.items() if v},
        gpu_hours_loading=account.loading_seconds * hours,
        gpu_hours_idle=account.idle_seconds * hours,
        gpu_hours_unseen=account.unseen_seconds * hours,
        gpu_hours_kept=_kept_seconds(world) * hours,
        num_checkpoints=account.num_checkpoints,
        num_resumed=account.num_resumed,
        events=dict(account.events),
        store_calls=dict(world.bucket.counts),
        driver_cpu_seconds=driven.cpu_seconds,
        planning_seconds=planned,
        simulation_seconds=time.perf_counter() - began,
        peak_rss_mib=peak_rss,
        planned_rss_mib=planned_rss,
    )


def show(report: Report, *, as_json: bool) -> str:
    """The report as it is printed."""
    return json.dumps(report.to_dict(), indent=2) if as_json else report.render()


def _plan(world: World) -> Plan:
    """The planner's way to the tasks, the listings of an output included."""
    committed = world.store.committed()
    return make_plan(
        _prompts(world.assumptions.prompts),
        recipes={_RECIPE: "r" * 64},
        default_recipe=_RECIPE,
        guidance="simulated",
        guidance_digest="g" * 64,
        committed=committed,
    )


def _prompts(number: int) -> Iterator[Prompt]:
    for row in range(number):
        yield Prompt(
            row=row,
            prompt_id=f"prompt-{row:07d}",
            prompt=f"a simulated thing, number {row} of its kind",
            seed=row,
        )


def _drive(world: World, plan: Plan) -> _Driven:
    clock, num_tasks = world.timeline.now, len(plan.tasks)
    schedule = Schedule(plan.tasks, num_tasks=num_tasks, num_slots=world.assumptions.slots)
    fleet = SimulatedFleet(world)
    with open(os.devnull, "w") as nowhere, closing(JobMetrics()) as metrics:
        display = LineDisplay(nowhere, clock=clock)
        ledger = Ledger(world.store, display, metrics, num_tasks=num_tasks, clock=clock)
        began = time.thread_time()
        try:
            Dispatcher(fleet, schedule, ledger, clock=clock).run()
        finally:
            fleet.close()
        cpu_seconds = time.thread_time() - began - fleet.seconds
        return _Driven(ledger=ledger, retried=_retried(metrics), cpu_seconds=cpu_seconds)


def _retried(metrics: JobMetrics) -> dict[str, int]:
    """Attempts that were ordered again, by the kind of the error before."""
    head = 'dreambatch_retries_total{kind="'
    return {
        name.removeprefix(head).removesuffix('"}'): int(value)
        for name, value in metrics.totals().items()
        if name.startswith(head) and value
    }


def _ends(world: World, plan: Plan) -> Counter[str]:
    """Where every planned asset is, by looking at the store and not at what the driver counted."""
    given_up = {failure["asset_id"] for failure in _failures(world) if failure["quarantined"]}
    ends: Counter[str] = Counter()
    for asset_id in plan.tasks.asset_ids():
        if world.bucket.has_asset(asset_id):
            ends["committed"] += 1
        else:
            ends["quarantined" if asset_id in given_up else "lost"] += 1
    return ends


def _quarantined(world: World) -> dict[str, int]:
    return dict(Counter(x["error_kind"] for x in _failures(world) if x["quarantined"]))


def _failures(world: World) -> Iterator[dict[str, str]]:
    return map(json.loads, world.bucket.contents("bucket/_failures"))


def _kept_seconds(world: World) -> float:
    """Device time in checkpoints that nobody went on from."""
    saved = map(unseal, world.bucket.contents("bucket/_checkpoints"))
    return sum(decode(data)[1] for data in saved if data is not None)


def _peak_rss_mib() -> float:
    return peak_bytes() / 2**20
