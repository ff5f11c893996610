"""What a run is to do, worked out from manifest, recipe, weights and store; nothing is written.

Mistakes of the user come out here as `UserError`, before Ray starts and before anything exists.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, replace
from operator import attrgetter

import pyarrow as pa

from engine import recipes as library
from engine.guidance import files
from engine.primitives.captions import vocabulary
from engine.recipe import Recipe
from pipeline import manifest, models, recipe_files
from pipeline.dataset.failures import given_up
from pipeline.errors import InvalidStore, UserError
from pipeline.plan import Plan, make_plan
from pipeline.prompts.foreign import ForeignWords
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
    """The recipes that rows may name, and the one for rows that name none. `is_kept`: the newest
    run of the output had it, and nobody says another."""

    default: str
    recipes: dict[str, Recipe]
    is_kept: bool = False


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run before it starts.

    `num_assets` counts all that the output holds already; `histories` maps asset ids that are not
    committed to the kinds of their failures in earlier runs; `checkpointed` are the planned ids
    that were left halfway; `earlier` is the newest run.
    """

    settings: RunSettings
    store: Store
    choice: Choice
    weights: Weights
    plan: Plan
    carried: pa.Schema
    manifest_digest: str
    num_assets: int
    histories: dict[str, list[str]]
    checkpointed: frozenset[str]
    earlier: RunStart | None


def prepare(settings: RunSettings, *, has_gpus: Callable[[], bool]) -> Job:
    """Works the job out. `has_gpus` is asked only where nothing else decides the recipe.

    Raises UserError for every mistake that can be seen without running.
    """
    settings.check()
    carried = manifest.schema(settings.manifest)
    store, earlier = _earlier(settings.output)
    if store is not None:
        _check_schema(store, carried)
    choice = choose_recipe(settings, earlier, has_gpus=has_gpus)
    weights = choose_weights(settings, earlier, choice.recipes[choice.default])
    store = Store.open(settings.output, create=True)
    committed = store.committed()
    histories, quarantined = _failures(store, committed)
    plan = plan_rows(
        settings.manifest,
        choice=choice,
        weights=weights,
        carried=carried,
        has_one_model=settings.guidance is not None,
        limit=settings.limit,
        num_seeds=settings.seeds_per_prompt,
        strict=settings.strict,
        committed=committed,
        quarantined=quarantined,
    )
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
        checkpointed=frozenset(store.checkpointed().intersection(plan.tasks.asset_ids())),
        earlier=earlier,
    )


def plan_rows(
    url: str,
    *,
    choice: Choice,
    weights: Weights,
    carried: pa.Schema,
    has_one_model: bool,
    limit: int | None,
    num_seeds: int = 1,
    strict: bool,
    committed: Set[str] = frozenset(),
    quarantined: Set[str] = frozenset(),
) -> Plan:
    """The plan of a manifest. `has_one_model`: the user named one diffusion model for all recipes.

    UserError as `manifest.read`, and at a rejected row if `strict`.
    """
    rows = _rows(url, limit=limit, num_seeds=num_seeds, strict=strict)
    is_closed = weights.guidance == files.PRIMITIVES
    foreign = ForeignWords(vocabulary() if is_closed else ())
    plan = make_plan(
        foreign.watched(rows) if is_closed else rows,
        recipes={name: recipe.digest() for name, recipe in choice.recipes.items()},
        default_recipe=choice.default,
        carried=carried,
        unfit={} if has_one_model else _unfit(choice),
        guidance=weights.guidance,
        guidance_digest=weights.digest,
        committed=committed,
        quarantined=quarantined,
    )
    if strict and plan.rejections:
        raise _rejected(next(iter(plan.rejections)))
    return replace(plan, foreign=foreign.told())


def _rows(
    url: str, *, limit: int | None, num_seeds: int, strict: bool
) -> Iterator[Prompt | Rejection]:
    """The manifest's rows, one by one. UserError at the first rejected one if `strict`."""
    for row in manifest.read(url, limit=limit, num_seeds=num_seeds):
        if strict and isinstance(row, Rejection):
            raise _rejected(row)
        yield row


def _unfit(choice: Choice) -> dict[str, str]:
    """Recipes for another diffusion model than the default's, and why no row can have them."""
    ours = choice.recipes[choice.default].guidance
    return {
        name: f"recipe {name!r} is for the model {recipe.guidance!r}, this run has {ours!r}: "
        "make it in a run of its own, or name one --guidance for all"
        for name, recipe in choice.recipes.items()
        if recipe.guidance != ours
    }


def choose_recipe(
    settings: RunSettings, earlier: RunStart | None, *, has_gpus: Callable[[], bool]
) -> Choice:
    """What the user says, else what the newest run of this output used, else what the GPUs say.

    An output that is continued keeps the recipes it was begun with, whatever this version of the
    library says they are.
    """
    if settings.recipe is None and earlier is not None:
        return _stored(earlier)
    default = settings.recipe
    if default is None:
        default = "primitives" if settings.gpus is not None or has_gpus() else "primitives_cpu"
    return choice_of(default)


def choice_of(name: str) -> Choice:
    """The recipe of that name, or in that file, and beside it those of the library."""
    chosen = recipe_files.find(name)
    return Choice(default=chosen.name, recipes=_library() | {chosen.name: chosen})


def _stored(run: RunStart) -> Choice:
    try:
        stored = {name: Recipe.from_dict(data) for name, data in run.recipes.items()}
        default = run.details["recipe"]
        if default not in stored:
            raise ValueError(f"its recipe {default!r} is not among {', '.join(stored)}")
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(f"run {run.run_id}: {error}; say --recipe to choose anew") from None
    return Choice(default=default, recipes=_library() | stored, is_kept=True)


def _library() -> dict[str, Recipe]:
    return {name: library.get(name) for name in library.names()}


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


def _failures(store: Store, committed: Set[str]) -> tuple[dict[str, list[str]], set[str]]:
    """Of what is not committed: kinds of earlier failures by asset id, oldest first, and the ids
    that were given up."""
    found = [failure for failure in store.failures() if failure.asset_id not in committed]
    histories: defaultdict[str, list[str]] = defaultdict(list)
    for failure in sorted(found, key=attrgetter("created_at")):
        histories[failure.asset_id].append(failure.error_kind)
    return dict(histories), set(given_up(found))


def _rejected(rejection: Rejection) -> UserError:
    return UserError(
        f"row {rejection.row} of the manifest is rejected: {rejection.reason}; "
        "mend it, or leave out --strict"
    )
