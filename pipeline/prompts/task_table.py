"""The tasks of a plan as Arrow columns: some hundred bytes a task, where objects take 1.8 kB.

Tasks come into being one batch at a time, as they are iterated over; a million of them may be
planned, and as many as a fleet works on exist. Those of one recipe stand together, recipes in the
order in which they first occur, tasks in the order in which they were added.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import pyarrow as pa

from pipeline.prompts.row_table import RowTable
from pipeline.records import Prompt, Task

_COLUMNS = pa.schema(
    [
        ("asset_id", pa.binary(16)),
        ("row", pa.int64()),
        ("prompt_id", pa.string()),
        ("prompt", pa.string()),
        ("seed", pa.int64()),
        ("negative_prompt", pa.string()),
        ("names_recipe", pa.bool_()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class TaskTable:
    """Tasks under one guidance model, iterated over as often as one likes.

    Args:
        digests: recipe name -> recipe digest, of every recipe that a task may have.
        carried: names and types of the carried columns.
    """

    guidance: str
    guidance_digest: str
    digests: Mapping[str, str]
    carried: pa.Schema = field(default_factory=lambda: pa.schema([]))
    _rows: dict[str, RowTable] = field(default_factory=dict, init=False)

    @classmethod
    def from_tasks(cls, tasks: Iterable[Task], *, carried: pa.Schema | None = None) -> Self:
        """The table of one task or more, which need not be held at the same time."""
        table = None
        digests: dict[str, str] = {}
        for task in tasks:
            if table is None:
                table = cls(
                    guidance=task.guidance,
                    guidance_digest=task.guidance_digest,
                    digests=digests,
                    carried=carried or pa.schema([]),
                )
            digests[task.recipe_name] = task.recipe_digest
            table.add(task.asset_id, task.prompt, task.recipe_name)
        assert table is not None, "expected a task"
        return table

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def __iter__(self) -> Iterator[Task]:
        for recipe, rows in self._rows.items():
            for row in rows:
                yield self._task(recipe, *row)

    @property
    def recipes(self) -> tuple[str, ...]:
        """The recipes that a task has, in order."""
        return tuple(self._rows)

    def add(self, asset_id: str, prompt: Prompt, recipe: str) -> None:
        """Append a task."""
        rows = self._rows.get(recipe)
        if rows is None:
            rows = self._rows[recipe] = RowTable(pa.schema([*_COLUMNS, *self.carried]))
        rows.append(
            (
                bytes.fromhex(asset_id),
                prompt.row,
                prompt.prompt_id,
                prompt.prompt,
                prompt.seed,
                prompt.negative_prompt,
                prompt.recipe is not None,
                *map(prompt.extra.get, self._names),
            )
        )

    def of(self, recipe: str) -> Self:
        """The tasks of one recipe; the rows are shared, not copied."""
        table = type(self)(
            guidance=self.guidance,
            guidance_digest=self.guidance_digest,
            digests=self.digests,
            carried=self.carried,
        )
        if recipe in self._rows:
            table._rows[recipe] = self._rows[recipe]
        return table

    def asset_ids(self) -> Iterator[str]:
        """The asset ids in order, without the rest of the tasks."""
        for rows in self._rows.values():
            for batch in rows.batches():
                yield from (name.hex() for name in batch.column(0).to_pylist())

    @cached_property
    def _names(self) -> list[str]:
        return self.carried.names

    def _task(
        self,
        recipe: str,
        asset_id: bytes,
        row: int,
        prompt_id: str,
        prompt: str,
        seed: int,
        negative_prompt: str,
        names_recipe: bool,
        *extra: object,
    ) -> Task:
        return Task(
            asset_id=asset_id.hex(),
            prompt=Prompt(
                row=row,
                prompt_id=prompt_id,
                prompt=prompt,
                seed=seed,
                negative_prompt=negative_prompt,
                recipe=recipe if names_recipe else None,
                extra=dict(zip(self._names, extra, strict=True)),
            ),
            recipe_name=recipe,
            recipe_digest=self.digests[recipe],
            guidance=self.guidance,
            guidance_digest=self.guidance_digest,
        )
