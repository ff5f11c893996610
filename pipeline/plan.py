"""What is left to do: the manifest less what is committed or quarantined, grouped by recipe."""

from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass
from types import MappingProxyType

import pyarrow as pa

from engine import recipes as library
from pipeline.dataset.asset_names import asset_id
from pipeline.prompts.first_rows import FirstRows
from pipeline.prompts.rejection_table import RejectionTable
from pipeline.prompts.task_table import TaskTable
from pipeline.records import Prompt, Rejection


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The tasks of a run, those of one recipe together, and what needs no work.

    num_prompts = len(tasks) + num_committed + num_quarantined; a rejected row counts in none.
    """

    tasks: TaskTable
    num_committed: int
    num_quarantined: int
    rejections: RejectionTable
    foreign: str = ""
    """What to tell of words that the model does not know."""

    @property
    def num_prompts(self) -> int:
        return len(self.tasks) + self.num_committed + self.num_quarantined


def make_plan(
    prompts: Iterable[Prompt | Rejection],
    *,
    recipes: Mapping[str, str],
    default_recipe: str,
    guidance: str,
    guidance_digest: str,
    carried: pa.Schema | None = None,
    unfit: Mapping[str, str] = MappingProxyType({}),
    committed: Set[str] = frozenset(),
    quarantined: Set[str] = frozenset(),
) -> Plan:
    """Subtract what is done from what is asked.

    Args:
        prompts: what `manifest.read` yields; drawn one by one and not kept.
        recipes: recipe name -> `Recipe.digest()`, of every recipe that a row may name, in the
            order in which they are told.
        default_recipe: for rows that name none; a key of `recipes`.
        carried: what `manifest.schema` says.
        unfit: recipe name -> why no row of this run can have it.
        guidance, guidance_digest: what the run was told, and the digest of those weights.
        committed, quarantined: sets of asset ids; an id in both counts as committed.

    A row whose recipe is unknown is rejected, and so is one that asks for the asset of an earlier
    row (it may name the default recipe that the other leaves out).
    """
    tasks = TaskTable(
        guidance=guidance,
        guidance_digest=guidance_digest,
        digests=recipes,
        carried=carried or pa.schema([]),
    )
    rejections, seen = RejectionTable(), FirstRows()
    num_committed, num_quarantined = 0, 0
    for item in prompts:
        if isinstance(item, Rejection):
            rejections.append(item)
            continue
        recipe = item.recipe or default_recipe
        if (reason := _misfit(recipe, recipes, unfit)) is not None:
            rejections.append(_reject(item, reason))
            continue
        name = asset_id(item, recipes[recipe], guidance_digest)
        first = seen.claim(bytes.fromhex(name), item.row)
        if first is not None:
            rejections.append(_reject(item, f"asks for the asset of row {first} again"))
        elif name in committed:
            num_committed += 1
        elif name in quarantined:
            num_quarantined += 1
        else:
            tasks.add(name, item, recipe)
    return Plan(
        tasks=tasks,
        num_committed=num_committed,
        num_quarantined=num_quarantined,
        rejections=rejections,
    )


def _misfit(recipe: str, recipes: Collection[str], unfit: Mapping[str, str]) -> str | None:
    """Why a row cannot have a recipe, None if it can."""
    if recipe not in recipes:
        return library.unknown(recipe, recipes)
    return unfit.get(recipe)


def _reject(prompt: Prompt, reason: str) -> Rejection:
    return Rejection(
        row=prompt.row, prompt_id=prompt.prompt_id, prompt=prompt.prompt, reason=reason
    )
