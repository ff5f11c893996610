from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dataset import partitions
from pipeline.errors import UserError

HOSTILE = [
    "..",
    "../../etc/passwd",
    "/",
    "a/b=c",
    "",
    ".",
    "~",
    "a\nb",
    "<script>alert(1)</script>",
    "%2e%2e",
    "*?[x]",
    "x#1",
    "__HIVE_DEFAULT_PARTITION__",
    "007",
    "true",
    "null",
    "日本語 é",
    "'; drop table --",
]


@pytest.mark.parametrize("value", [*HOSTILE, None])
def test_a_value_is_one_directory_under_packed(tmp_path: Path, value: str | None) -> None:
    name = partitions.value_directory("collection", value)
    assert name.isascii()
    assert name.startswith("packed/collection=")
    assert name.count("/") == 1
    (tmp_path / name).mkdir(parents=True)
    assert [x.name for x in (tmp_path / "packed").iterdir()] == [name.removeprefix("packed/")]
    column = pa.field("collection", pa.string())
    assert partitions.value_of(f"{name}/x.parquet", column) == value


@given(st.sets(st.none() | st.text(max_size=20), min_size=2, max_size=2))
def test_two_values_are_two_directories(values: set[str | None]) -> None:
    column = pa.field("c", pa.string())
    names = {partitions.value_directory("c", value) for value in values}
    assert len(names) == 2
    assert {partitions.value_of(f"{name}/x.parquet", column) for name in names} == values


@pytest.mark.parametrize("kind", [pa.int8(), pa.int64(), pa.uint64()])
def test_integers_stay_integers(kind: pa.DataType) -> None:
    for value in (0, 7, 100, None):
        name = partitions.value_directory("c", value)
        assert partitions.value_of(f"{name}/x.parquet", pa.field("c", kind)) == value


def test_bools_stay_bools() -> None:
    for value in (True, False, None):
        name = partitions.value_directory("c", value)
        assert partitions.value_of(f"{name}/x.parquet", pa.field("c", pa.bool_())) is value


def test_other_readers_understand_the_directories(tmp_path: Path) -> None:
    values = [x for x in HOSTILE if x != "__HIVE_DEFAULT_PARTITION__"]
    for number, value in enumerate([*values, None]):
        path = tmp_path / partitions.value_directory("collection", value)
        path.mkdir(parents=True)
        pq.write_table(pa.table({"row": [number]}), path / "x.parquet")
    found = ds.dataset(tmp_path / "packed", partitioning="hive").to_table().sort_by("row")
    assert found["collection"].to_pylist() == [*values, None]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("absent", "expected a carried column, here 'collection', '_hidden', 'a/b', 'weight'"),
        ("_hidden", "does not begin with _"),
        ("a/b", "expected a name of letters, digits and _"),
        ("weight", "which is double: expected text, integers or bool"),
    ],
)
def test_columns_that_cannot_partition_are_a_users_mistake(column: str, message: str) -> None:
    kinds = [(name, pa.string()) for name in ("collection", "_hidden", "a/b")]
    carried = pa.schema([*kinds, ("weight", pa.float64())])
    assert partitions.find_column("collection", carried).name == "collection"
    with pytest.raises(UserError, match=message):
        partitions.find_column(column, carried)


def test_a_value_too_long_for_a_directory_is_a_users_mistake() -> None:
    with pytest.raises(UserError, match="holds a value of 300 characters, too long"):
        partitions.value_directory("c", "x" * 300)
