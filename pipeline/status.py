"""What an output holds and what is still to do, from the store alone."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.dataset.failures import given_up
from pipeline.records import Failure, RunStart, RunSummary
from pipeline.settings import within
from pipeline.store import Store


@dataclass(frozen=True, kw_only=True)
class Status:
    """Counts of one output. `num_bytes` counts each asset once, a packed one as it is packed.

    `num_rejected` and `num_remaining` are those of the newest run's manifest, as far as the run was
    to look at it; `num_remaining` is None where no run is recorded. `num_quarantined` leaves out
    what was committed since. `failures` counts failed attempts by error kind, of all runs.
    """

    url: str
    num_committed: int
    num_bytes: int
    num_quarantined: int
    num_under_way: int
    """Prompts that a run can go on with from a checkpoint."""
    failures: Mapping[str, int]
    num_runs: int
    num_rejected: int
    num_remaining: int | None
    run: RunStart | None
    summary: RunSummary | None


def summarise(store: Store) -> Status:
    """Read the counts; writes nothing and needs no running job."""
    failures = list(store.failures())
    hopeless = set(given_up(failures))
    under_way = store.checkpointed()
    num_committed, num_bytes = _count(store, hopeless, under_way)
    runs = store.runs()
    run = runs[-1] if runs else None
    summary = store.read_summary(run.run_id) if run else None
    return Status(
        url=store.url,
        num_committed=num_committed,
        num_bytes=num_bytes,
        num_quarantined=len(hopeless),
        num_under_way=len(under_way - hopeless),
        failures=dict(Counter(x.error_kind for x in failures).most_common()),
        num_runs=len(runs),
        num_rejected=run.num_rejected if run else 0,
        num_remaining=_remaining(run, summary, num_committed, failures),
        run=run,
        summary=summary,
    )


def render(status: Status) -> str:
    """The status as lines of plain text (`dataclasses.asdict(status)` is its JSON form)."""
    lines = [
        status.url,
        f"  committed    {status.num_committed:,} ({_size(status.num_bytes)})",
        f"  remaining    {_remains(status)}",
        f"  quarantined  {status.num_quarantined:,}",
        f"  rejected     {status.num_rejected:,}",
        f"  failures     {_failures(status.failures)}",
        f"  runs         {status.num_runs:,}",
    ]
    if status.num_under_way:
        lines.append(f"  checkpoints  {status.num_under_way:,}, from which prompts under way go on")
    if status.run:
        lines.append(f"  newest run   {status.run.run_id}, {_progress(status.summary)}")
        lines.append(f"  manifest     {status.run.manifest}")
        if words := status.run.details.get("foreign_words"):
            lines.append(f"  words        {words}")
    return "\n".join(lines)


def _count(store: Store, *others: set[str]) -> tuple[int, int]:
    """Number and bytes of the assets, shard by shard; they leave the `others`, sets of ids.

    A packed asset counts with its share of the packed file, wherever else it lies.
    """
    count = num_bytes = 0
    snapshot = None
    for shard in store.shards():
        snapshot = shard.snapshot
        asset_ids = shard.asset_ids()
        for ids in others:
            ids -= asset_ids
        count += len(asset_ids)
        packed = set(shard.packed.asset_ids())
        num_bytes += sum(size for x, size in shard.loose.items() if x not in packed)
    return count, num_bytes + (snapshot.num_bytes if snapshot else 0)


def _remaining(
    run: RunStart | None, summary: RunSummary | None, num_assets: int, failures: list[Failure]
) -> int | None:
    """What the newest run still has to do: as it said at its end, or else counted from the store.

    The count takes every asset and every quarantine since the run began for its own.
    """
    if run is None or summary is not None:
        return summary.num_remaining if summary else None
    since = given_up(x for x in failures if x.created_at >= run.created_at)
    done_before = run.num_committed_before + run.num_quarantined_before
    done_since = num_assets - run.num_assets_before + len(since)
    return max(0, run.num_prompts - done_before - done_since)


def _progress(summary: RunSummary | None) -> str:
    if summary is None:
        return "not over (running, or killed: run it again to go on)"
    spent = f"{summary.gpu_seconds:,.0f} device seconds in {summary.wall_seconds:,.0f} seconds"
    made = f"{summary.num_committed:,} made with {spent}"
    return f"ended {summary.finished_at} with code {summary.exit_code}: {made}"


def _failures(failures: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in failures.items()) or "0"


def _remains(status: Status) -> str:
    """What the newest run still has to do, and of what part of its manifest."""
    if status.run is None or status.num_remaining is None:
        return "unknown (no run is recorded)"
    return f"{status.num_remaining:,}{within(status.run.details.get('arguments', {}).get('limit'))}"


def _size(num_bytes: int) -> str:
    value = float(num_bytes)
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"
