"""What is written down and said about a run: run.json, summary.json, and the last lines."""

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import asdict, replace

from pipeline import contact_sheet
from pipeline.dataset import catalog
from pipeline.metrics import JobMetrics
from pipeline.records import RunStart, RunSummary, now
from pipeline.run.job import Job
from pipeline.run.ledger import Totals
from pipeline.run.progress import duration
from pipeline.settings import within

_PACKAGES = ("dreambatch", "ray", "torch", "diffusers", "transformers", "pyarrow", "fsspec")


def version(package: str) -> str:
    """The installed version of a package, found without importing it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def start(job: Job, run_id: str, *, num_actors: int) -> RunStart:
    """run.json. Only recipes that a row of this run uses are kept."""
    used = {*job.plan.tasks.recipes, job.choice.default}
    return RunStart(
        run_id=run_id,
        manifest=job.settings.manifest,
        manifest_digest=job.manifest_digest,
        num_prompts=job.plan.num_prompts,
        num_rejected=len(job.plan.rejections),
        num_committed_before=job.plan.num_committed,
        num_quarantined_before=job.plan.num_quarantined,
        num_assets_before=job.num_assets,
        guidance=job.weights.guidance,
        guidance_digest=job.weights.digest,
        recipes={name: job.choice.recipes[name].to_dict() for name in sorted(used)},
        details={
            "recipe": job.choice.default,
            "arguments": asdict(job.settings),
            "num_actors": num_actors,
            "foreign_words": job.plan.foreign,
            "python": platform.python_version(),
            "versions": {package: version(package) for package in _PACKAGES},
        },
    )


def summary(
    job: Job, run_id: str, code: int, totals: Totals, metrics: JobMetrics, seconds: float
) -> RunSummary:
    """summary.json, with the totals of all metrics."""
    return RunSummary(
        run_id=run_id,
        exit_code=code,
        num_committed=totals.num_committed,
        num_duplicate=totals.num_duplicate,
        num_failed_attempts=totals.num_failed_attempts,
        num_quarantined=job.plan.num_quarantined + totals.num_quarantined,
        num_rejected=len(job.plan.rejections),
        num_remaining=len(job.plan.tasks) - totals.num_done - totals.num_quarantined,
        gpu_seconds=totals.gpu_seconds,
        gpu_seconds_useful=totals.gpu_seconds_useful,
        gpu_seconds_wasted=dict(totals.gpu_seconds_wasted),
        wall_seconds=seconds,
        bytes_written=totals.bytes_written,
        details={"metrics": metrics.totals()},
    )


def late_summary(job: Job, earlier: RunStart, summary: RunSummary | None, code: int) -> RunSummary:
    """The summary of a run that was ended after its last asset and before its own end.

    `summary` is what it wrote when it was interrupted; None if it was killed, so that only the
    store can tell what it did.
    """
    if summary is not None:
        return replace(summary, exit_code=code, num_remaining=0, finished_at=now())
    return RunSummary(
        run_id=earlier.run_id,
        exit_code=code,
        num_committed=max(0, job.plan.num_committed - earlier.num_committed_before),
        num_duplicate=0,
        num_failed_attempts=0,
        num_quarantined=job.plan.num_quarantined,
        num_rejected=len(job.plan.rejections),
        num_remaining=0,
        gpu_seconds=0.0,
        wall_seconds=0.0,
        bytes_written=0,
        details={"written_by": "a later command, from the store: times and bytes are unknown"},
    )


def write_views(job: Job, *, num_new: int = 0) -> dict[str, str]:
    """Catalog and contact sheet of all that is committed, `num_new` assets of them since the job
    was worked out; their addresses by what they are."""
    if not job.num_assets + num_new:
        return {}
    views = {"catalog": catalog.write(job.store)}
    sheet = contact_sheet.write(job.store)
    return views if sheet is None else views | {"contact sheet": sheet}


def announcement(job: Job, num_actors: int) -> str:
    """The first line of a run."""
    plan = job.plan
    already = f", {plan.num_committed} already committed" if plan.num_committed else ""
    rejected = f", {len(plan.rejections)} rejected" if plan.rejections else ""
    things = "asset" if len(plan.tasks) == 1 else "assets"
    kept = " (as before in this output)" if job.choice.is_kept else ""
    return (
        f"{len(plan.tasks)} {things} to make{within(job.settings.limit)}{already}{rejected}; "
        f"recipe {job.choice.default}{kept}, "
        f"{num_actors} {'actor' if num_actors == 1 else 'actors'}, output {job.store.url}"
    )


def notes(job: Job, *, has_gpus: bool) -> list[str]:
    """What may not be as the user thinks, a line each; said before work begins."""
    found = [_rejected(job)] if job.plan.rejections else []
    found += [job.plan.foreign] if job.plan.foreign else []
    for recipe in () if has_gpus else job.plan.tasks.recipes:
        twin = f"{recipe}_cpu"
        if twin in job.choice.recipes:
            # What the rows name, --recipe does not change.
            is_default = recipe == job.choice.default
            cure = f"--recipe {twin}" if is_default else f"{twin} in the column `recipe`"
            found.append(
                f"no GPU is here, which recipe {recipe} is meant for: on a CPU, {cure} takes less "
                "time"
            )
    return found


def done(job: Job, totals: Totals, views: Mapping[str, str], seconds: float) -> str:
    """The last lines of a run that came to its end."""
    url = job.store.url.rstrip("/")
    quarantined = job.plan.num_quarantined + totals.num_quarantined
    counts = [f"{job.plan.num_committed + totals.num_done} committed"]
    if job.plan.num_committed:
        counts[0] += f" ({totals.num_done} in this run)"
    counts += [f"{quarantined} quarantined", f"{len(job.plan.rejections)} rejected"]
    places = dict(views)
    if job.plan.num_committed + totals.num_done:
        places = {"assets": f"{url}/assets", **views}
    if totals.gpu_seconds:
        places["device time"] = device_time(totals)
    if job.plan.rejections:
        places["rejected rows"] = f"{url}/_rejected ({_rejected(job)})"
    if quarantined:
        places["failures"] = f"{url}/_failures ({_retry(url)})"
    if job.plan.foreign:
        places["foreign words"] = job.plan.foreign
    if views:
        places["next"] = (
            f"look at the contact sheet; pandas.read_parquet({f'{url}/catalog'!r}) is the table"
        )
    width = max(map(len, places), default=0)
    lines = [f"done in {duration(seconds)}: {', '.join(counts)}"]
    lines += [f"  {name:<{width}}  {place}" for name, place in places.items()]
    return "\n".join([*lines, *_all_rejected(job)])


def device_time(totals: Totals) -> str:
    """`5 h 07 min, 1.2 % wasted: 3 min 40 s preempted, 8 s diverged`."""
    wasted = sum(totals.gpu_seconds_wasted.values())
    causes = sorted(totals.gpu_seconds_wasted.items(), key=lambda item: -item[1])
    details = ", ".join(f"{duration(seconds)} {cause}" for cause, seconds in causes if seconds)
    part = 100 * wasted / totals.gpu_seconds if wasted else 0.0
    return f"{duration(totals.gpu_seconds)}, {part:.1f} % wasted" + (details and f": {details}")


def settled(job: Job) -> str:
    """What is said where there is nothing to make."""
    plan, url = job.plan, job.store.url
    counts = f"{plan.num_committed} committed, {plan.num_quarantined} quarantined"
    hint = f"; {_retry(url)}" if plan.num_quarantined else ""
    line = f"nothing to do: {counts}, {len(plan.rejections)} rejected in {url}{hint}"
    return "\n".join([line, *_all_rejected(job)])


def _all_rejected(job: Job) -> list[str]:
    """The exit code is 0 all the same, so that it is said."""
    plan = job.plan
    if plan.num_prompts or not plan.rejections:
        return []
    return [f"no row of {job.settings.manifest} can be used: {_rejected(job)}"]


def _rejected(job: Job) -> str:
    """The first rejected row and its reason, and where all are told."""
    number, first = len(job.plan.rejections), next(iter(job.plan.rejections))
    told = f"row {first.row} is rejected: {first.reason}"
    if number == 1:
        return told
    return f"{number:,} rows are rejected, which `dreambatch validate` lists; the first: {told}"


def _retry(url: str) -> str:
    return f"`dreambatch retry --output {url}` lets those prompts in again"


def interrupted(job: Job, totals: Totals) -> str:
    """What is said after a signal; an actor's last commit may not have been heard of."""
    has_checkpoints = job.settings.checkpoint_minutes > 0
    return (
        f"interrupted: at least {totals.num_done} of {len(job.plan.tasks)} assets are committed to "
        f"{job.store.url}; the same command goes on from there"
        + (", and with what was under way from its checkpoints" if has_checkpoints else "")
        + (f"\n  device time  {device_time(totals)}" if totals.gpu_seconds else "")
    )
