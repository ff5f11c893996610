"""Conditions are expressions over the catalog, and can reach nothing else."""

import re
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.export import selection
from pipeline.store import Store
from tests.pipeline.packed import fill
from tests.pipeline.sample_assets import open_store, sample_task

COLLECTIONS = ("demo", "other's")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Six assets in two collections."""
    store = open_store(str(tmp_path_factory.mktemp("out")))
    fill(store, range(6), COLLECTIONS)
    return store


@pytest.mark.parametrize(
    ("condition", "numbers"),
    [
        ("seed > 3", [4, 5]),
        ("SEED == 3", [3]),
        ("seed in (1, 5) and collection = 'other''s'", [1, 5]),
        ("prompt like '%number 2'", [2]),
        ("mesh_watertight and loss_sds between 0.2 and 0.3", [0, 1, 2, 3, 4, 5]),
        ("created_at >= '2026-11-23' and seed < 1", [0]),
        ("seed = (select max(seed) from catalog)", [5]),
    ],
)
def test_a_condition_chooses(store: Store, condition: str, numbers: list[int]) -> None:
    found = selection.where(store, condition)
    assert found == sorted(sample_task(k, collection=COLLECTIONS[k % 2]).asset_id for k in numbers)


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "seed >",
        "nothing > 1",
        "prompt > 1",
        "seed = 1; drop table catalog",
        "seed = 1) union (select 1",
        "seed = 1 order by 1",
        "asset_id in (select content from read_text('/etc/hostname'))",
        "asset_id in (select * from '/etc/hostname')",
        "asset_id in (select asset_id from store)",
        "asset_id in (select content from read_text('https://localhost/x'))",
        "(select count(*) from duckdb_settings() where name = getenv('HOME')) > 0",
        "(install httpfs)",
    ],
)
def test_what_is_no_condition_is_a_mistake(store: Store, condition: str) -> None:
    with pytest.raises(UserError, match=r"^--where .* expected an SQL condition [^\n]*$"):
        selection.where(store, condition)


@pytest.mark.parametrize(
    ("condition", "reason", "columns"),
    [
        ("mesh_face > 1", 'Referenced column "mesh_face" not found', {"mesh_faces"}),
        ("seed >", 'syntax error at or near ">"', set()),
        ("prompt > 1", "Cannot compare values of type VARCHAR", set()),
        ("(install httpfs)", 'syntax error at or near "httpfs"', set()),
    ],
)
def test_the_reason_comes_first_and_columns_where_one_is_unknown(
    store: Store, condition: str, reason: str, columns: set[str]
) -> None:
    with pytest.raises(UserError) as error:
        selection.where(store, condition)
    said, _, example = str(error.value).partition("; expected an SQL condition")
    assert said.startswith(f"--where {condition!r}: {reason}")
    assert example == ' over the catalog\'s columns, such as "mesh_faces > 1000"'
    near = re.findall(r'"(\w+)"', said.partition(", the nearest are ")[2])
    assert columns <= set(near)
    assert len(near) <= 5
    assert bool(near) == bool(columns)


def test_no_setting_can_be_unlocked(store: Store) -> None:
    inside = "(select value from duckdb_settings() where name = '{}') = '{}'"
    for name, value in (("enable_external_access", "false"), ("lock_configuration", "true")):
        assert len(selection.where(store, inside.format(name, value))) == 6


@pytest.mark.parametrize("condition", ["loss_sds is null", "null", "seed > 5"])
def test_a_condition_that_holds_for_none_is_a_mistake(store: Store, condition: str) -> None:
    said = f"--where {condition!r}: it holds for none of the 6 assets of {store.url}"
    with pytest.raises(UserError, match=f"^{re.escape(said)}$"):
        selection.where(store, condition)


def test_an_output_without_assets_is_a_mistake(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    said = f"^{re.escape(store.url)} holds no assets yet: nothing to export$"
    with pytest.raises(UserError, match=said):
        selection.where(store, "seed = 1")
    with pytest.raises(UserError, match=said):
        selection.everything(store)
