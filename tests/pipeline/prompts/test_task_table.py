from itertools import groupby, islice

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.prompts import row_table
from pipeline.prompts.task_table import TaskTable
from pipeline.records import Prompt, Task

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
CARRIED = pa.schema([("weight", pa.float64()), ("tags", pa.list_(pa.string()))])
EXTRA = st.fixed_dictionaries(
    {
        "weight": st.none() | st.floats(allow_nan=False),
        "tags": st.none() | st.lists(TEXT, max_size=2),
    }
)


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    recipe = draw(st.sampled_from(["fine", "coarse", "rough"]))
    return Task(
        asset_id=draw(st.binary(min_size=16, max_size=16)).hex(),
        prompt=Prompt(
            row=draw(st.integers(0, 2**40)),
            prompt_id=draw(TEXT),
            prompt=draw(TEXT),
            seed=draw(st.integers(0, 2**63 - 1)),
            negative_prompt=draw(TEXT),
            recipe=draw(st.sampled_from([recipe, None])),
            extra=draw(EXTRA),
        ),
        recipe_name=recipe,
        recipe_digest=f"digest of {recipe}",
        guidance="primitives",
        guidance_digest="g",
    )


@given(found=st.lists(tasks(), min_size=1, max_size=20), size=st.integers(1, 5))
@settings(deadline=None)
def test_tasks_come_back_by_recipe_as_they_were(found: list[Task], size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_table, "_BATCH", size)
        table = TaskTable.from_tasks(iter(found), carried=CARRIED)
    order = list(dict.fromkeys(task.recipe_name for task in found))
    expected = sorted(found, key=lambda task: order.index(task.recipe_name))
    assert list(table) == list(table) == expected
    assert len(table) == len(found)
    assert table.recipes == tuple(order)
    assert list(table.asset_ids()) == [task.asset_id for task in expected]
    for recipe, group in groupby(expected, key=lambda task: task.recipe_name):
        part = table.of(recipe)
        assert (list(part), part.recipes) == (list(group), (recipe,))


def test_a_recipe_that_no_task_has() -> None:
    table = TaskTable(guidance="g", guidance_digest="g", digests={"fine": "f", "coarse": "c"})
    table.add("0" * 32, Prompt(row=0, prompt_id="x", prompt="a ball", seed=0), "fine")
    assert (len(table.of("coarse")), table.of("coarse").recipes) == (0, ())
    assert (len(table), table.recipes) == (1, ("fine",))


def test_tasks_are_made_as_they_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    table = TaskTable(guidance="g", guidance_digest="g", digests={"fine": "f"})
    for row in range(3):
        prompt = Prompt(row=row, prompt_id=f"{row}", prompt="a ball", seed=row)
        table.add(f"{row:032x}", prompt, "fine")
    made: list[int] = []
    original = TaskTable._task

    def count(self: TaskTable, recipe: str, *row: object) -> Task:
        made.append(1)
        return original(self, recipe, *row)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(TaskTable, "_task", count)
    assert [task.prompt.row for task in islice(table, 2)] == [0, 1]
    assert len(made) == 2
