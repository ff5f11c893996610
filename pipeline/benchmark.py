"""`dreambatch benchmark`: unseen prompts become assets, and a judge says how good they are."""

import dataclasses
from pathlib import Path
from typing import Literal

from engine.evaluation.benchmark import BenchmarkConfig, check, run
from pipeline import models, recipe_files
from pipeline.errors import UserError


def measure(
    *,
    recipe: str,
    out: str,
    guidance: str | None,
    prompts: int,
    seeds: int,
    split: Literal["dev", "test"],
    judge: str,
    slots: int | None,
) -> str:
    """The figures as a table; everything else is written into `out`. UserError for mistakes."""
    chosen = recipe_files.find(recipe)
    if guidance is not None:
        chosen = dataclasses.replace(chosen, guidance=guidance)
    chosen = dataclasses.replace(chosen, guidance=str(models.find(chosen.guidance).path))
    try:
        config = BenchmarkConfig(
            recipe=chosen,
            out=Path(out),
            prompts=prompts,
            seeds=seeds,
            split=split,
            judge=judge,
            slots=slots,
        )
        check(config)
    except (OSError, ValueError) as error:
        raise UserError(str(error)) from None
    return run(config)
