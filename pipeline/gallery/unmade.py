"""The prompts without an asset, and why: given up after failures, or rejected from the manifest."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.records import Failure, Rejection
from pipeline.store import Store

MOST_LISTED = 10_000
"""Of each kind; of more, the page tells how many there are."""
_LONGEST = 4000


@dataclass(frozen=True, kw_only=True)
class Unmade:
    """What is listed, newest first and in the manifest's order, and how many there are in all."""

    quarantined: list[Failure]
    num_quarantined: int
    rejected: list[tuple[str, Rejection]]
    """With the manifest's address."""
    num_rejected: int


def find(store: Store, committed: Callable[[set[str]], set[str]]) -> Unmade:
    """What no asset came of. A manifest was judged at its newest run. `committed` tells which of
    some ids are assets: what was made after all is no failure."""
    quarantined = _given_up(store.failures(), committed)
    newest = {run.manifest: run for run in store.runs()}
    rejected: list[tuple[str, Rejection]] = []
    num_rejected = 0
    for run in newest.values():
        num_rejected += run.num_rejected
        for rejection in store.rejections(run.run_id) if run.num_rejected else ():
            if len(rejected) == MOST_LISTED:
                break
            rejected.append((run.manifest, rejection))
    return Unmade(
        quarantined=quarantined[:MOST_LISTED],
        num_quarantined=len(quarantined),
        rejected=rejected,
        num_rejected=num_rejected,
    )


def wire(unmade: Unmade) -> Iterator[dict[str, Any]]:
    """The list as JSON objects."""
    for failure in unmade.quarantined:
        yield {
            "status": "quarantined",
            "prompt": failure.prompt[:_LONGEST],
            "prompt_id": failure.prompt_id,
            "reason": failure.message[:_LONGEST],
            "kind": failure.error_kind,
            "attempts": failure.attempts,
            "when": failure.created_at,
        }
    for manifest, rejection in unmade.rejected:
        yield {
            "status": "rejected",
            "prompt": None if rejection.prompt is None else rejection.prompt[:_LONGEST],
            "prompt_id": rejection.prompt_id,
            "reason": rejection.reason[:_LONGEST],
            "row": rejection.row,
            "manifest": manifest.rpartition("/")[2],
        }


def _given_up(
    failures: Iterable[Failure], committed: Callable[[set[str]], set[str]]
) -> list[Failure]:
    """The last word on each asset that is given up, newest first."""
    last: dict[str, Failure] = {}
    for failure in failures:
        known = last.get(failure.asset_id)
        if failure.quarantined and (known is None or known.created_at < failure.created_at):
            last[failure.asset_id] = failure
    made = committed(set(last))
    found = [failure for asset_id, failure in last.items() if asset_id not in made]
    return sorted(found, key=lambda x: (x.created_at, x.asset_id), reverse=True)
