"""The tasks of one recipe: a gang serves one recipe, so that each has a fleet of its own."""

from dataclasses import dataclass
from typing import Literal

from engine.export import crew
from pipeline.actors.embeddings import Wanted
from pipeline.actors.engine_port import EngineFactory, EngineSpec, TextFactory
from pipeline.fleet.cluster import Cluster
from pipeline.run.interruption import Interruption
from pipeline.run.job import Job
from pipeline.run.ledger import Ledger
from pipeline.run.schedule import Schedule

_TEXTS_SECONDS = 600.0
"""How long an attempt waits for its texts, at most; always less than what counts as hanging, so
that a slow text encoder is not taken for a hung actor."""


COMPILED_FROM = 4000
"""Steps of an actor from which on it compiles its networks: a minute or so of compiling, against
some 15 ms that it saves an H200 in each step, 60 s / 15 ms = 4,000 steps."""

MOST_SLOTS = 16
"""Slots that a GPU's memory may decide upon: beyond, a scene gains next to nothing, and a death
costs more. As `engine.slots.MOST`, which comes with torch; the driver has no need of that."""


@dataclass(frozen=True)
class Factories:
    """What actors load: the engine, and the text encoder of an encode stage if there is one."""

    engine: EngineFactory
    texts: TextFactory | None


def make_recipe(
    job: Job,
    cluster: Cluster,
    factories: Factories,
    recipe: str,
    num_actors: int,
    ledger: Ledger,
    interruption: Interruption,
) -> None:
    """Makes the tasks of a recipe. RunError as `Dispatcher.run`, and KeyboardInterrupt."""
    # Ray comes with them: not before there is something to make.
    from pipeline.actors.encode_stage import EncodeStage
    from pipeline.fleet.ray_fleet import RayFleet
    from pipeline.run.dispatch import Dispatcher

    tasks = job.plan.tasks.of(recipe)
    use_gpu = uses_gpus(job, cluster)
    num_actors = max(1, min(num_actors, len(tasks)))
    spec = _spec(job, cluster, factories, recipe, -(-len(tasks) // num_actors), use_gpu=use_gpu)
    stage = None
    if factories.texts is not None:
        handle = cluster.create_encoder(factories.texts, spec, job.store, use_gpu=use_gpu)
        stage = EncodeStage(handle, Wanted(job.store, spec))

    fleet = RayFleet(
        lambda: cluster.create_actor(factories.engine, spec, job.store, use_gpu=use_gpu),
        cluster,
        size=num_actors,
        hang_seconds=60 * job.settings.hang_minutes,
        encoder=None if stage is None else stage.handle,
    )
    schedule = Schedule(
        tasks,
        num_tasks=len(tasks),
        num_slots=spec.num_slots,
        lookahead=spec.num_exports,
        histories=job.histories,
        resumable=job.checkpointed,
    )
    dispatcher = Dispatcher(fleet, schedule, ledger, stage=stage)
    try:
        with interruption.softened(dispatcher.stop):
            dispatcher.run()
        if stage is not None:
            stage.clear()
    finally:
        fleet.close()
        if stage is not None:
            stage.close()


def uses_gpus(job: Job, cluster: Cluster) -> bool:
    """Whether what is to be made is made on GPUs, which may still have to come."""
    # Who has nothing to make has joined no cluster that could be asked.
    return job.settings.gpus is not None or (bool(job.plan.tasks) and cluster.num_gpus > 0)


def _spec(
    job: Job,
    cluster: Cluster,
    factories: Factories,
    recipe: str,
    num_scenes: int,
    *,
    use_gpu: bool,
) -> EngineSpec:
    """`num_scenes` is an actor's share of them."""
    chosen, minutes = job.choice.recipes[recipe], job.settings.checkpoint_minutes
    hang_seconds = 60 * job.settings.hang_minutes
    num_slots, measures_slots = slots_of(job.settings.slots, chosen.num_slots, use_gpu=use_gpu)
    num_threads = cluster.threads(use_gpu=use_gpu)
    return EngineSpec(
        recipe=chosen.to_dict(),
        guidance=job.weights.guidance,
        guidance_digest=job.weights.digest,
        num_slots=num_slots,
        measures_slots=measures_slots,
        compiled=is_worth_compiling(num_scenes, num_slots, chosen.iterations),
        num_threads=num_threads,
        num_exports=crew.size(num_threads, is_gpu=use_gpu),
        has_text_encoder=factories.texts is None,
        checkpoint_seconds=60 * minutes if minutes else None,
        texts_seconds=min(_TEXTS_SECONDS, hang_seconds / 2),
    )


def is_worth_compiling(num_scenes: int, num_slots: int, iterations: int) -> bool:
    """Whether an actor's share of the scenes takes steps enough."""
    return -(-num_scenes // num_slots) * iterations >= COMPILED_FROM


def slots_of(
    asked: int | Literal["auto"] | None, recipe: int, *, use_gpu: bool
) -> tuple[int, bool]:
    """Slots of an actor, and whether they are but the most, of which its memory has to decide.

    The plan counts with the most: what an actor gets beyond its slots waits there.
    """
    if asked == "auto":
        return (max(MOST_SLOTS, recipe), True) if use_gpu else (recipe, False)
    return asked or recipe, False
