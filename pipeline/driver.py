"""The driver: manifest and store in, orders to actors out, a summary at the end.

It holds no truth. What is done is what lies in the store; a driver that dies is started again with
the same command, subtracts, and goes on.
"""

import sys
import time
from contextlib import closing
from typing import TextIO

from pipeline import exit_codes
from pipeline.actors.engine_port import EngineFactory, TextFactory, load_engine, load_texts
from pipeline.dataset.failure_log import FailureLog
from pipeline.dataset.lease import Lease, LeaseHeld
from pipeline.errors import RunError, UserError
from pipeline.fleet.cluster import Cluster
from pipeline.metrics import JobMetrics
from pipeline.records import RunStart, RunSummary, new_run_id
from pipeline.run import report
from pipeline.run.interruption import Interruption
from pipeline.run.job import Job, prepare
from pipeline.run.ledger import Ledger
from pipeline.run.progress import Display, open_display
from pipeline.run.recipe_run import Factories, make_recipe, uses_gpus
from pipeline.settings import RunSettings
from pipeline.storage import places

_FLUSH_SECONDS = 60.0
_LEAVING_FLUSH_SECONDS = 2.0
"""How long the end of a run, or of one that was interrupted, may wait for records of failures."""


def run(
    settings: RunSettings,
    *,
    engine_factory: EngineFactory = load_engine,
    text_factory: TextFactory | None = load_texts,
    stream: TextIO = sys.stdout,
) -> int:
    """Runs a manifest to its end and returns the exit code.

    Without a `text_factory` there is no encode stage: the engines embed texts themselves.

    Raises UserError before anything is written, and RunError where no actor can work or another run
    has the output. Ctrl-C, SIGTERM and a closed terminal end the run in order, with 130, 143, 129.
    """
    cluster, interruption = Cluster(), Interruption()
    with interruption.listening():
        try:
            job = prepare(settings, has_gpus=lambda: _count_gpus(cluster) > 0)
            if _is_settled(job):
                return _nothing_to_do(job, stream)
            if job.plan.tasks:
                _join(cluster, settings)
            return _carry_out(
                job, cluster, Factories(engine_factory, text_factory), stream, interruption
            )
        except KeyboardInterrupt:
            print("interrupted; the same command goes on", file=stream, flush=True)
            return interruption.exit_code
        finally:
            cluster.close()


def _count_gpus(cluster: Cluster) -> int:
    cluster.connect()
    return cluster.num_gpus


def _join(cluster: Cluster, settings: RunSettings) -> None:
    """Connects. UserError where our own machine cannot have the GPUs asked for, and where none are
    asked for of a cluster that starts from zero."""
    cluster.connect()
    if settings.gpus is None and not cluster.has_machines:
        raise UserError(
            "--gpus: the cluster has no machine to work on yet, so its GPUs cannot be counted; say "
            "how many to ask for"
        )
    if cluster.is_own and settings.gpus is not None and settings.gpus > cluster.num_gpus:
        raise UserError(
            f"--gpus {settings.gpus}: this machine has {cluster.num_gpus}; ask for no more, or set "
            "RAY_ADDRESS to a cluster that has them"
        )


def _is_settled(job: Job) -> bool:
    """Whether there is nothing to make and no new rejection to write down."""
    is_known = job.earlier is not None and job.earlier.manifest_digest == job.manifest_digest
    return not job.plan.tasks and (is_known or not job.plan.rejections)


def _is_the_same(job: Job, earlier: RunStart) -> bool:
    """Whether the earlier run set out to do what this job asks for, and not more than that."""
    return (
        earlier.manifest_digest == job.manifest_digest
        and earlier.num_prompts == job.plan.num_prompts
        and earlier.details["recipe"] == job.choice.default
        and earlier.recipes[job.choice.default] == job.choice.recipes[job.choice.default].to_dict()
        and earlier.guidance_digest == job.weights.digest
    )


def _nothing_to_do(job: Job, stream: TextIO) -> int:
    code = exit_codes.QUARANTINE if job.plan.num_quarantined else exit_codes.COMPLETE
    if job.earlier is not None:
        summary = job.store.read_summary(job.earlier.run_id)
        if summary is None or summary.exit_code not in (exit_codes.COMPLETE, exit_codes.QUARANTINE):
            # The run that did the work was ended before its end.
            report.write_views(job)
            if _is_the_same(job, job.earlier):
                job.store.finish_run(report.late_summary(job, job.earlier, summary, code))
    print(report.settled(job), file=stream, flush=True)
    return code


def _carry_out(
    job: Job,
    cluster: Cluster,
    factories: Factories,
    stream: TextIO,
    interruption: Interruption,
) -> int:
    """Makes what is to be made, unless another run does."""
    run_id = new_run_id()
    try:
        lease = Lease.acquire(job.store.objects, holder=run_id, share=job.settings.share)
    except LeaseHeld as held:
        raise RunError(str(held)) from None
    with closing(JobMetrics()) as metrics:
        try:
            code = _make(job, cluster, factories, stream, interruption, run_id, metrics)
        finally:
            lease.release()
        if code != interruption.exit_code:
            metrics.see_out(lambda text: print(text, file=stream, flush=True))
        return code


def _make(
    job: Job,
    cluster: Cluster,
    factories: Factories,
    stream: TextIO,
    interruption: Interruption,
    run_id: str,
    metrics: JobMetrics,
) -> int:
    """Writes what the run sets out to do, does it, writes what came of it."""
    began, num_actors = time.monotonic(), _num_actors(job, cluster)
    job.store.claim_schema(job.carried)
    job.store.remove_stale()
    job.store.write_rejections(run_id, job.plan.rejections)
    job.store.start_run(report.start(job, run_id, num_actors=num_actors))
    display = open_display(stream)
    display.say(report.announcement(job, num_actors))
    for note in report.notes(job, has_gpus=uses_gpus(job, cluster)):
        display.say(note)
    _expose(metrics, job, run_id, display)
    log, num_tasks = FailureLog(job.store.write_failure), len(job.plan.tasks)
    ledger = Ledger(job.store, display, metrics, num_tasks=num_tasks, log=log)
    code, views = exit_codes.FAILURE, {}
    try:
        for recipe in job.plan.tasks.recipes:
            make_recipe(job, cluster, factories, recipe, num_actors, ledger, interruption)
        views = report.write_views(job, num_new=ledger.totals.num_done)
        quarantined = job.plan.num_quarantined + ledger.totals.num_quarantined
        code = exit_codes.QUARANTINE if quarantined else exit_codes.COMPLETE
    except KeyboardInterrupt:
        code = interruption.exit_code
    finally:
        is_leaving = code == interruption.exit_code
        ledger.close(_LEAVING_FLUSH_SECONDS if is_leaving else _FLUSH_SECONDS)
        display.close()
        seconds = time.monotonic() - began
        metrics.freeze()
        _finish(job, report.summary(job, run_id, code, ledger.totals, metrics, seconds), stream)
    if code == interruption.exit_code:
        print(report.interrupted(job, ledger.totals), file=stream, flush=True)
    else:
        print(report.done(job, ledger.totals, views, seconds), file=stream, flush=True)
    return code


def _finish(job: Job, summary: RunSummary, stream: TextIO) -> None:
    """Writes summary.json. Where a run has not come to its end, why it has not is the news, and a
    store that refuses this as well only costs a warning."""
    try:
        job.store.finish_run(summary)
    except Exception as error:  # storage clients have no common family of errors
        if summary.exit_code in (exit_codes.COMPLETE, exit_codes.QUARANTINE):
            raise
        warning = f"warning: summary.json is not written: {places.reason(error)}"
        print(warning, file=stream, flush=True)


def _num_actors(job: Job, cluster: Cluster) -> int:
    """One a GPU; without any, one for all cores of a machine."""
    if not job.plan.tasks:
        return 0
    return job.settings.gpus or cluster.num_gpus or 1


def _expose(metrics: JobMetrics, job: Job, run_id: str, display: Display) -> None:
    """Serves the metrics, beginning with what is known before anything is done."""
    metrics.set(
        "run_info",
        1,
        run_id=run_id,
        recipe=job.choice.default,
        guidance_digest=job.weights.digest[:12],
        version=report.version("dreambatch"),
    )
    job.store.objects.observe = metrics.note_operation
    metrics.add("assets_total", job.plan.num_committed, status="skipped")
    metrics.add("assets_total", len(job.plan.rejections), status="rejected")
    metrics.expose(job.settings.metrics_port, display.say)
