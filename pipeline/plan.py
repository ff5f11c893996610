"""What is left to do: the manifest less what is committed or quarantined, grouped by recipe.

An asset's name is a function of what decides it and nothing else, so that the same request has the
same name in any run, on any machine:

    asset_id = first 32 hex digits of sha256(canonical JSON of
        {guidance_digest, negative_prompt, prompt, recipe_digest, seed})

Canonical JSON: keys sorted, no blanks, text in NFC and UTF-8 without escapes for other alphabets.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from types import MappingProxyType

from pipeline.records import Prompt, Rejection, Task

SHARDS = tuple(f"x{byte:02x}" for byte in range(256))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The tasks of a run, those of one recipe together, and what needs no work.

    num_prompts = len(tasks) + num_committed + num_quarantined; a rejected row counts in none.
    """

    tasks: list[Task]
    num_committed: int
    num_quarantined: int
    rejections: list[Rejection]

    @property
    def num_prompts(self) -> int:
        return len(self.tasks) + self.num_committed + self.num_quarantined


def asset_id(prompt: Prompt, recipe_digest: str, guidance_digest: str) -> str:
    """32 hex digits that name the asset of this prompt under this recipe and these weights."""
    request = {
        "prompt": unicodedata.normalize("NFC", prompt.prompt),
        "negative_prompt": unicodedata.normalize("NFC", prompt.negative_prompt),
        "seed": prompt.seed,
        "recipe_digest": recipe_digest,
        "guidance_digest": guidance_digest,
    }
    canonical = json.dumps(request, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def shard(asset_id: str) -> str:
    """`x` and the first byte in hex: pyarrow would read a bare number as an integer partition."""
    return f"x{asset_id[:2]}"


def make_plan(
    prompts: Iterable[Prompt | Rejection],
    *,
    recipes: Mapping[str, str],
    default_recipe: str,
    guidance: str,
    guidance_digest: str,
    unfit: Mapping[str, str] = MappingProxyType({}),
    committed: Set[str] = frozenset(),
    quarantined: Set[str] = frozenset(),
) -> Plan:
    """Subtract what is done from what is asked.

    Args:
        prompts: what `manifest.read` yields.
        recipes: recipe name -> `Recipe.digest()`, of every recipe that a row may name.
        default_recipe: for rows that name none; a key of `recipes`.
        unfit: recipe name -> why no row of this run can have it.
        guidance, guidance_digest: what the run was told, and the digest of those weights.
        committed, quarantined: sets of asset ids; an id in both counts as committed.

    A row whose recipe is unknown is rejected, and so is one that asks for the asset of an earlier
    row (it may name the default recipe that the other leaves out).
    """
    requests: dict[str, Task] = {}
    rejections: list[Rejection] = []
    for item in prompts:
        if isinstance(item, Rejection):
            rejections.append(item)
            continue
        recipe = item.recipe or default_recipe
        if recipe not in recipes:
            known = ", ".join(sorted(recipes))
            rejections.append(_reject(item, f"unknown recipe {recipe!r}: expected one of {known}"))
            continue
        if recipe in unfit:
            rejections.append(_reject(item, unfit[recipe]))
            continue
        task = _task(item, recipe, recipes[recipe], guidance, guidance_digest)
        first = requests.setdefault(task.asset_id, task)
        if first is not task:
            rejections.append(_reject(item, f"asks for the asset of row {first.prompt.row} again"))
    done = committed | quarantined
    todo = [task for name, task in requests.items() if name not in done]
    return Plan(
        tasks=_grouped(todo),
        num_committed=len(requests.keys() & committed),
        num_quarantined=len((requests.keys() & quarantined) - committed),
        rejections=rejections,
    )


def _task(
    prompt: Prompt, recipe: str, recipe_digest: str, guidance: str, guidance_digest: str
) -> Task:
    return Task(
        asset_id=asset_id(prompt, recipe_digest, guidance_digest),
        prompt=prompt,
        recipe_name=recipe,
        recipe_digest=recipe_digest,
        guidance=guidance,
        guidance_digest=guidance_digest,
    )


def _grouped(tasks: list[Task]) -> list[Task]:
    """Recipe by recipe, in the order in which they first occur; rows keep their order."""
    rank: dict[str, int] = {}
    for task in tasks:
        rank.setdefault(task.recipe_name, len(rank))
    return sorted(tasks, key=lambda task: rank[task.recipe_name])


def _reject(prompt: Prompt, reason: str) -> Rejection:
    return Rejection(
        row=prompt.row, prompt_id=prompt.prompt_id, prompt=prompt.prompt, reason=reason
    )
