"""`dreambatch validate`: a manifest, a recipe and a model are looked at, nothing is made."""

from itertools import islice

from pipeline import manifest, models
from pipeline.counts import counted
from pipeline.errors import UserError
from pipeline.plan import Plan
from pipeline.run.job import Weights, choice_of, plan_rows

_MOST_SHOWN = 20
_USUAL = "primitives"


def check(
    url: str,
    *,
    recipe: str | None,
    guidance: str | None,
    limit: int | None,
    seeds_per_prompt: int = 1,
    strict: bool,
) -> str:
    """What is found, in lines; the rows are judged as `run` judges them in a new output, on a GPU
    if nothing names the recipe. UserError for everything that would keep `run` from starting."""
    if limit is not None and limit < 1:
        raise UserError(f"--limit: expected 1 or more, got {limit}")
    choice = choice_of(_USUAL if recipe is None else recipe)
    chosen = choice.recipes[choice.default]
    carried = manifest.schema(url)
    plan = plan_rows(
        url,
        choice=choice,
        weights=Weights(guidance=chosen.guidance if guidance is None else guidance, digest=""),
        carried=carried,
        has_one_model=guidance is not None,
        limit=limit,
        num_seeds=seeds_per_prompt,
        strict=strict,
    )
    made, refused = counted(len(plan.tasks), "asset"), counted(len(plan.rejections), "row")
    lines = [f"{url}: {made} to make, {refused} rejected"]
    if carried.names:
        lines.append(f"columns carried into the dataset: {', '.join(carried.names)}")
    lines += _rejections(plan)
    if plan.foreign:
        lines.append(plan.foreign)
    if recipe is not None:
        lines.append(f"recipe {chosen.name}: {chosen.summary}")
    model = chosen.guidance if guidance is None and recipe is not None else guidance
    if model is not None:
        lines.append(f"guidance {model}: complete, in {models.find(model).path}")
    return "\n".join(lines)


def _rejections(plan: Plan) -> list[str]:
    shown = [f"row {x.row}: {x.reason}" for x in islice(plan.rejections, _MOST_SHOWN)]
    hidden = len(plan.rejections) - len(shown)
    return [*shown, f"... and {hidden} more"] if hidden else shown
