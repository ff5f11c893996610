"""What all parts of a simulation share."""

from dataclasses import dataclass, field

from pipeline.simulation.account import Account
from pipeline.simulation.assumptions import Assumptions
from pipeline.simulation.bucket import Bucket
from pipeline.simulation.draws import Draws
from pipeline.simulation.timeline import Timeline
from pipeline.storage.objects import Objects
from pipeline.store import Store


@dataclass(frozen=True, kw_only=True)
class World:
    """A clock, chance, a bucket with the real store in it, and the books."""

    assumptions: Assumptions
    draws: Draws
    bucket: Bucket
    store: Store
    timeline: Timeline = field(default_factory=Timeline)
    account: Account = field(default_factory=Account)


def open_world(assumptions: Assumptions) -> World:
    """A world before anything has happened in it."""
    draws = Draws(assumptions)
    bucket = Bucket(is_refused=draws.is_refused, is_unanswered=draws.is_unanswered)
    store = Store(Objects(bucket, "bucket", url="simulated://bucket"))
    return World(assumptions=assumptions, draws=draws, bucket=bucket, store=store)
