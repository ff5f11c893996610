"""What travels through the factory: plain, frozen, picklable records.

manifest row -> Prompt | Rejection -> Task -> Attempt -> (actor) Provenance + engine Asset
                                                     -> Outcome | Failure

Rows are counted from 0 and without a header, so that `pandas.DataFrame.iloc[row]` is the row. Times
are seconds, sizes are bytes, moments are UTC in ISO 8601. The Arrow form of an asset is in
`dataset/asset_table.py`.
"""

from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal, Self
from uuid import uuid4

CommitResult = Literal["committed", "duplicate"]
Cause = Literal["process", "node", "hung"]
"""What became of a lost actor: its process died, its machine went away, or it did not move."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One request: a manifest row, or one seed of a row that asks for several.

    `prompt`, `negative_prompt` and `prompt_id` are NFC and without blanks around them. `recipe` is
    None where the row leaves the choice to the run. `extra` holds the carried columns.
    """

    row: int
    prompt_id: str
    prompt: str
    seed: int
    negative_prompt: str = ""
    recipe: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """A row, or one seed of it, that will not be made, and why. `prompt` may be cut short."""

    row: int
    prompt_id: str | None
    prompt: str | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Task:
    """A prompt with everything that decides its asset, whose name is `asset_names.asset_id`."""

    asset_id: str
    prompt: Prompt
    recipe_name: str
    recipe_digest: str
    guidance: str
    guidance_digest: str


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt at one task: what an actor is sent. `number` counts from 1.

    `may_resume`: an earlier attempt with this seed may have left a checkpoint. `is_frugal`: it is
    to be made in the least memory, in a gang of one slot and with the rays in small chunks.
    """

    task: Task
    attempt_id: str
    number: int
    seed: int
    alone: bool = False
    may_resume: bool = False
    is_frugal: bool = False


@dataclass(frozen=True, kw_only=True)
class Glance:
    """How far an actor is: the part done of each scene by asset id, its device seconds that are not
    in a checkpoint, scene steps a second (a step of a gang of eight is eight), and for how many
    seconds nothing has moved although the actor has work."""

    fractions: Mapping[str, float] = field(default_factory=dict)
    unsaved_seconds: Mapping[str, float] = field(default_factory=dict)
    steps_per_second: float = 0.0
    stuck_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How one attempt made its asset: what the dataset records beside the asset itself.

    `seed_used` differs from the prompt's seed where a retry drew another one. `attempts` counts
    this attempt. `losses` are the last values, by name without the `loss_` of their columns.
    """

    attempt_id: str
    seed_used: int
    attempts: int
    iterations: int
    gpu_seconds: float
    device: str
    peak_memory_bytes: int
    status: str = "ok"
    losses: Mapping[str, float] = field(default_factory=dict)
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an actor reports of one attempt: about 1 KB, never a picture.

    `gpu_seconds` of a failure is device time that is lost: no checkpoint keeps it. That of an asset
    is all that was spent on it, what earlier attempts had kept included. `num_resumed_steps` are
    those that lay behind its checkpoint. Of an asset `mesh_status`, `mesh_faces` and `losses` are
    those of its row, `opacity` is the mean of its views.
    """

    asset_id: str
    attempt_id: str
    status: Literal["committed", "duplicate", "failed"]
    error_kind: str | None = None
    message: str | None = None
    gpu_seconds: float = 0.0
    num_resumed_steps: int = 0
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    bytes_written: int = 0
    mesh_status: str | None = None
    mesh_faces: int | None = None
    opacity: float | None = None
    losses: Mapping[str, float] = field(default_factory=dict)


class Document:
    """A record that is kept as a JSON object."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def to_dict(self) -> dict[str, Any]:
        """The record as plain dicts, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`; keys that another version wrote are left out."""
        return cls(**{k: v for k, v in document.items() if k in cls.__dataclass_fields__})


@dataclass(frozen=True, kw_only=True)
class Failure(Document):
    """A failed attempt, kept in `_failures/`; `quarantined` on the one that gave the asset up."""

    asset_id: str
    attempt_id: str
    prompt_id: str
    prompt: str
    error_kind: str
    message: str
    attempts: int
    quarantined: bool
    created_at: str = field(default_factory=lambda: now())


@dataclass(frozen=True, kw_only=True)
class RunStart(Document):
    """`_runs/<run_id>/run.json`: what a run set out to do; written once, read again on resume.

    `num_prompts` counts the accepted prompts of the manifest, up to the `limit` among the arguments
    if there is one; of these, `num_committed_before` and `num_quarantined_before` needed no work.
    `num_assets_before` counts all that the output held, of this manifest or others.
    `recipes` maps each name to its resolved `Recipe.to_dict()`. `details` takes what only the
    driver knows (arguments, versions, cluster).
    """

    run_id: str
    manifest: str
    manifest_digest: str
    num_prompts: int
    num_rejected: int
    num_committed_before: int
    num_quarantined_before: int
    num_assets_before: int
    guidance: str
    guidance_digest: str
    recipes: Mapping[str, Mapping[str, Any]]
    details: Mapping[str, Any] = field(default_factory=dict)
    created_at: str = field(default_factory=lambda: now())


@dataclass(frozen=True, kw_only=True)
class RunSummary(Document):
    """`_runs/<run_id>/summary.json`: what came of it; overwritten when the run is resumed.

    Device time is useful where it ended in an asset, whichever run spent it, and wasted by cause:
    `duplicate`, or the kind of a failure.
    """

    run_id: str
    exit_code: int
    num_committed: int
    num_duplicate: int
    num_failed_attempts: int
    num_quarantined: int
    num_rejected: int
    num_remaining: int
    gpu_seconds: float
    wall_seconds: float
    bytes_written: int
    gpu_seconds_useful: float = 0.0
    gpu_seconds_wasted: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    finished_at: str = field(default_factory=lambda: now())


def now() -> str:
    """This moment as records write it: UTC, ISO 8601, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def new_attempt_id() -> str:
    """A name for one attempt at one asset: 32 hex digits, drawn anew each time."""
    return uuid4().hex


def new_run_id() -> str:
    """A name for a run that sorts by time: `20261231T235959Z-1a2b3c`."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid4().hex[:6]}"
