"""What a user may say about a run; free of heavy imports."""

from dataclasses import dataclass
from typing import Literal

from pipeline.errors import UserError

MAX_NUM_SEEDS = 10_000
"""Most assets that one row of a manifest may ask for."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Make a dataset of 3D assets out of a manifest of prompts; the same command again goes on."""

    manifest: str
    """Table of prompts: Parquet, CSV, JSONL or text, on a path or an fsspec URL."""
    output: str
    """Directory of the dataset, on a path or an fsspec URL such as gs://bucket/name."""
    recipe: str | None = None
    """Name of a recipe, see `dreambatch recipes`, or a .json file with one, such as the run.json of
    an earlier run. Default: as before in this output, else by GPU."""
    guidance: str | None = None
    """Diffusion model: `primitives`, a directory, a hub id such as DeepFloyd/IF-I-XL-v1.0@revision,
    or an fsspec URL. Default: the recipe's."""
    slots: int | Literal["auto"] | None = None
    """Prompts that one GPU optimises together; auto: a power of two by its memory, 16 at most.
    Default: the recipe's."""
    gpus: int | None = None
    """GPUs to ask for, one actor each. Default: all there are, else the CPU."""
    limit: int | None = None
    """Make no more than the first prompts of the manifest."""
    seeds_per_prompt: int = 1
    """Assets of each prompt that says nothing of `num_seeds`: of its seed, seed + 1, ..."""
    strict: bool = False
    """Stop before anything is made if a row is rejected."""
    checkpoint_minutes: float = 10.0
    """How old the newest checkpoint of a prompt under way may become; 0: none are written."""
    hang_minutes: float = 15.0
    """Replace an actor that has work and has not moved for so long."""
    share: bool = False
    """Work beside another run on the same output. What both make is kept once, and the other's work
    is wasted: give each run its own part of the manifest."""
    metrics_port: int = 9464
    """Port of the Prometheus metrics; 0: any free one."""

    def check(self) -> None:
        """Raises UserError. The parser constructs, and would wrap an error in its own words."""
        for name in ("slots", "gpus", "limit"):
            value = getattr(self, name)
            if value is not None and value != "auto" and value < 1:
                raise UserError(f"--{name}: expected 1 or more, got {value}")
        if not 1 <= self.seeds_per_prompt <= MAX_NUM_SEEDS:
            raise UserError(
                f"--seeds-per-prompt: expected 1 to {MAX_NUM_SEEDS}, got {self.seeds_per_prompt}"
            )
        if not 0 <= self.checkpoint_minutes < float("inf"):
            raise UserError(
                f"--checkpoint-minutes: expected 0 (none) or more, got {self.checkpoint_minutes}"
            )
        if not 0 < self.hang_minutes < float("inf"):
            raise UserError(f"--hang-minutes: expected more than 0, got {self.hang_minutes}")
        if not 0 <= self.metrics_port <= 65535:
            raise UserError(
                f"--metrics-port: expected 0 (any free port) to 65535, got {self.metrics_port}"
            )


def within(limit: int | None) -> str:
    """What follows a number of prompts of which no others were looked at; nothing without limit."""
    return f" among the first {limit} of the manifest (--limit)" if limit else ""
