"""The rejected rows of a manifest, kept as Arrow columns: all rows of a million may be."""

from collections.abc import Iterable, Iterator

import pyarrow as pa

from pipeline.prompts.row_table import RowTable
from pipeline.records import Rejection

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("prompt_id", pa.string()),
        ("prompt", pa.string()),
        ("reason", pa.string()),
    ]
)


class RejectionTable:
    """Rejections in the order in which they were found."""

    def __init__(self, rejections: Iterable[Rejection] = ()) -> None:
        self._rows = RowTable(SCHEMA)
        for rejection in rejections:
            self.append(rejection)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Rejection]:
        for row, prompt_id, prompt, reason in self._rows:
            yield Rejection(row=row, prompt_id=prompt_id, prompt=prompt, reason=reason)

    def append(self, rejection: Rejection) -> None:
        """Add a rejection."""
        row = (rejection.row, rejection.prompt_id, rejection.prompt, rejection.reason)
        self._rows.append(row)
