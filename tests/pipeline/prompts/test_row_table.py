import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.prompts import row_table
from pipeline.prompts.row_table import RowTable

SCHEMA = pa.schema([("number", pa.int64()), ("text", pa.string()), ("tags", pa.list_(pa.int8()))])
ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.text(st.characters(exclude_categories=["Cs"])),
        st.none() | st.lists(st.integers(-128, 127), max_size=3),
    ),
    max_size=20,
)


@given(rows=ROWS, more=ROWS, size=st.integers(1, 7))
@settings(deadline=None)
def test_rows_come_back_in_order_at_any_time(
    rows: list[tuple[object, ...]], more: list[tuple[object, ...]], size: int
) -> None:
    table = RowTable(SCHEMA)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_table, "_BATCH", size)
        for row in rows:
            table.append(row)
        assert list(table) == rows
        for row in more:
            table.append(row)
    assert len(table) == len(rows) + len(more)
    assert list(table) == list(table) == rows + more
    assert all(0 < len(batch) <= size for batch in table.batches())


def test_values_are_those_of_the_columns_types() -> None:
    table = RowTable(pa.schema([("x", pa.float64())]))
    table.append((1,))
    assert [(type(x), x) for (x,) in table] == [(float, 1.0)]


def test_rows_are_packed_while_they_are_appended() -> None:
    table = RowTable(pa.schema([("x", pa.binary())]))
    for _ in range(3 * row_table._BATCH):
        table.append((bytes(1000),))
    assert len(table._rows) == 0
    assert sum(batch.nbytes for batch in table.batches()) < 3 * row_table._BATCH * 1100
