"""What a run is to do, worked out from manifest, recipe, weights and store; nothing is written.

Mistakes of the user come out here as `UserError`, before Ray starts and before anything exists.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from engine import recipes as library
from engine.guidance import files
from engine.recipe import Recipe
from pipeline import manifest, models, recipe_files
from pipeline.errors import InvalidStore, UserError
from pipeline.plan import Plan, make_plan
from pipeline.records import Prompt, Rejection, RunStart
from pipeline.settings import RunSettings
from pipeline.store import Store


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The diffusion model of a run: the name by which every machine finds it."""

    guidance: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The recipes that rows may name, and the one for rows that name none."""

    default: str
    recipes: dict[str, Recipe]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run before it starts. `num_assets` counts all that the output holds already; `histories`
    maps asset ids to the kinds of their failures in earlier runs; `earlier` is the newest run."""

    settings: RunSettings
    store: Store
    choice: Choice
    weights: Weights
    plan: Plan
    carried: pa.Schema
    manifest_digest: str
    num_assets: int
    histories: dict[str, list[str]]
    earlier: RunStart | None


def prepare(settings: RunSettings, *, has_gpus: Callable[[], bool]) -> Job:
    """Works the job out. `has_gpus` is asked only where nothing else decides the recipe.

    Raises UserError for every mistake that can be seen without running.
    """
    settings.check()
    if settings.recipe is not None:
        recipe_named(settings.recipe)
    if settings.guidance is not None:
        check_weights(settings.guidance)
    carried = manifest.schema(settings.manifest)
    rows = read_rows(settings.manifest, limit=settings.limit, strict=settings.strict)
    store, earlier = _earlier(settings.output)
    if store is not None:
        _check_schema(store, carried)
    choice = choose_recipe(settings, earlier, has_gpus=has_gpus)
    weights = choose_weights(settings, earlier, choice.recipes[choice.default])
    store = Store.open(settings.output, create=True)
    histories, quarantined = _failures(store)
    committed = store.committed()
    plan = make_plan(
        rows,
        recipes={name: recipe.digest() for name, recipe in choice.recipes.items()},
        default_recipe=choice.default,
        unfit=_unfit(settings, choice),
        guidance=weights.guidance,
        guidance_digest=weights.digest,
        committed=committed,
        quarantined=quarantined,
    )
    if settings.strict and plan.rejections:
        raise _rejected(plan.rejections[0])
    return Job(
        settings=settings,
        store=store,
        choice=choice,
        weights=weights,
        plan=plan,
        carried=carried,
        manifest_digest=manifest.digest(settings.manifest),
        num_assets=len(committed),
        histories=histories,
        earlier=earlier,
    )


def _unfit(settings: RunSettings, choice: Choice) -> dict[str, str]:
    """Recipes for another diffusion model than the run's; none where the user named one for all."""
    if settings.guidance is not None:
        return {}
    ours = choice.recipes[choice.default].guidance
    return {
        name: f"recipe {name!r} is for the model {recipe.guidance!r}, this run has {ours!r}: "
        "make it in a run of its own, or name one --guidance for all"
        for name, recipe in choice.recipes.items()
        if recipe.guidance != ours
    }


def read_rows(url: str, *, limit: int | None, strict: bool) -> list[Prompt | Rejection]:
    """The manifest's rows. UserError at the first rejected one if `strict`."""
    rows: list[Prompt | Rejection] = []
    for row in manifest.read(url, limit=limit):
        if strict and isinstance(row, Rejection):
            raise _rejected(row)
        rows.append(row)
    return rows


def recipe_named(name: str) -> Recipe:
    """The recipe of that name, or in that file. UserError otherwise."""
    return recipe_files.find(name)


def check_weights(guidance: str) -> Path:
    """The directory of a guidance model here. UserError unless all its files are there."""
    return models.find(guidance).path


def choose_recipe(
    settings: RunSettings, earlier: RunStart | None, *, has_gpus: Callable[[], bool]
) -> Choice:
    """What the user says, else what the newest run of this output used, else what the GPUs say.

    An output that is continued keeps the recipes it was begun with, whatever this version of the
    library says they are.
    """
    known = {name: library.get(name) for name in library.names()}
    if settings.recipe is not None:
        chosen = recipe_named(settings.recipe)
        return Choice(default=chosen.name, recipes=known | {chosen.name: chosen})
    if earlier is not None:
        try:
            stored = {name: Recipe.from_dict(data) for name, data in earlier.recipes.items()}
        except (TypeError, ValueError) as error:
            raise UserError(f"run {earlier.run_id}: {error}; say --recipe to choose anew") from None
        return Choice(default=earlier.details["recipe"], recipes=known | stored)
    is_gpu = settings.gpus is not None or has_gpus()
    return Choice(default="primitives" if is_gpu else "primitives_cpu", recipes=known)


def choose_weights(settings: RunSettings, earlier: RunStart | None, recipe: Recipe) -> Weights:
    """What the user says, else what the newest run used unless the recipe is new, else the
    recipe's own."""
    guidance = settings.guidance
    if guidance is None and settings.recipe is None and earlier is not None:
        guidance = earlier.guidance
    if guidance is None:
        guidance = recipe.guidance
    model = models.find(guidance)
    return Weights(guidance=model.name, digest=files.digest(model.path))


def _earlier(output: str) -> tuple[Store | None, RunStart | None]:
    try:
        store = Store.open(output, create=False)
    except InvalidStore:
        return None, None
    return store, store.latest_run()


def _check_schema(store: Store, carried: pa.Schema) -> None:
    """UserError where the manifest's columns are not those of the output."""
    try:
        store.carried_schema()
    except InvalidStore:
        return
    store.check_schema(carried)


def _failures(store: Store) -> tuple[dict[str, list[str]], set[str]]:
    """Kinds of earlier failures by asset id, oldest first, and the ids that were given up."""
    histories: defaultdict[str, list[str]] = defaultdict(list)
    quarantined = set()
    for failure in sorted(store.failures(), key=lambda failure: failure.created_at):
        histories[failure.asset_id].append(failure.error_kind)
        if failure.quarantined:
            quarantined.add(failure.asset_id)
    return dict(histories), quarantined


def _rejected(rejection: Rejection) -> UserError:
    return UserError(
        f"row {rejection.row} of the manifest is rejected: {rejection.reason}; "
        "mend it, or leave out --strict"
    )
