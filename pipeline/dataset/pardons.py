"""`dreambatch retry`: quarantined prompts are let in again.

A pardon names failed attempts that no longer count, so that their prompts are as good as new to the
next plan. What happened stays in `_failures/`, and what has been committed since needs no pardon.
"""

from collections import Counter

from pipeline import retry
from pipeline.counts import counted
from pipeline.dataset.failures import given_up
from pipeline.errors import UserError
from pipeline.store import Store


def pardon(store: Store, *, kind: str | None = None) -> str:
    """Lets in again what was given up for a failure of `kind` (None: of any); says how many."""
    failures = list(store.failures())
    if kind is not None and kind not in retry.TABLE.keys() | {x.error_kind for x in failures}:
        known = ", ".join(sorted(retry.TABLE))
        raise UserError(f"--kind: expected one of {known}, got {kind!r}")
    committed = store.committed()
    hopeless = {name: why for name, why in given_up(failures).items() if name not in committed}
    chosen = {name: why for name, why in hopeless.items() if kind in (None, why)}
    if not chosen:
        return _nothing(store.url, Counter(hopeless.values()))
    attempt_ids = [x.attempt_id for x in failures if x.asset_id in chosen]
    store.pardon(attempt_ids, kind=kind)
    return (
        f"let in again: {_counted(Counter(chosen.values()))}; the next run of their manifest on "
        f"{store.url} makes them, and their history stays in _failures/"
    )


def _nothing(url: str, others: Counter[str]) -> str:
    if not others:
        return f"nothing to let in again: no prompt is quarantined in {url}"
    return f"nothing to let in again: quarantined in {url} are {_counted(others)}"


def _counted(kinds: Counter[str]) -> str:
    """`3 prompts (2 diverged, 1 export)`."""
    each = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
    return f"{counted(kinds.total(), 'prompt')} ({each})"
