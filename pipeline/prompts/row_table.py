"""Rows kept as Arrow columns: appended one at a time, iterated one batch at a time."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

_BATCH = 8192


class RowTable:
    """Rows of one schema, in the order in which they were appended; values come back as Arrow has
    them (a whole number in a float column as a float)."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._batches: list[pa.RecordBatch] = []
        self._rows: list[tuple[Any, ...]] = []

    def __len__(self) -> int:
        return sum(map(len, self._batches)) + len(self._rows)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for batch in self.batches():
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

    def append(self, row: tuple[Any, ...]) -> None:
        """Add a row: a value for each column, of its type or None."""
        self._rows.append(row)
        if len(self._rows) == _BATCH:
            self._pack()

    def batches(self) -> list[pa.RecordBatch]:
        """All rows so far."""
        self._pack()
        return self._batches

    def _pack(self) -> None:
        if not self._rows:
            return
        columns = zip(*self._rows, strict=True)
        arrays = [
            pa.array(values, column.type)
            for values, column in zip(columns, self.schema, strict=True)
        ]
        self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=self.schema))
        self._rows.clear()
