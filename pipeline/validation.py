"""`dreambatch validate`: a manifest, a recipe and a model are looked at, nothing is made."""

from pipeline import manifest
from pipeline.errors import UserError
from pipeline.job import check_weights, read_rows, recipe_named
from pipeline.records import Prompt, Rejection

_MOST_SHOWN = 20


def check(
    url: str, *, recipe: str | None, guidance: str | None, limit: int | None, strict: bool
) -> str:
    """What is found, in lines. UserError for everything that would keep `run` from starting."""
    if limit is not None and limit < 1:
        raise UserError(f"--limit: expected 1 or more, got {limit}")
    chosen = recipe_named(recipe) if recipe is not None else None
    model = guidance or (chosen.guidance if chosen is not None else None)
    carried = manifest.schema(url)
    rows = read_rows(url, limit=limit, strict=strict)
    prompts = [row for row in rows if isinstance(row, Prompt)]
    rejections = [row for row in rows if isinstance(row, Rejection)]
    for name in {prompt.recipe for prompt in prompts if prompt.recipe is not None}:
        recipe_named(name)
    lines = [f"{url}: {len(prompts)} prompts, {len(rejections)} rejected"]
    if carried.names:
        lines.append(f"columns carried into the dataset: {', '.join(carried.names)}")
    lines += [f"row {r.row}: {r.reason}" for r in rejections[:_MOST_SHOWN]]
    if len(rejections) > _MOST_SHOWN:
        lines.append(f"... and {len(rejections) - _MOST_SHOWN} more")
    if chosen is not None:
        lines.append(f"recipe {chosen.name}: {chosen.summary}")
    if model is not None:
        lines.append(f"guidance {model}: complete, in {check_weights(model)}")
    return "\n".join(lines)
