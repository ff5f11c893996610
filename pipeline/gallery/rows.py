"""The scalars of all assets, newest first, a chunk at a time.

They come shard by shard, in no order that a person would like, and may be many: they go into files
of this machine, which are mapped into memory, where a column, a chunk and the order (8 bytes an
asset) are held.
"""

import tempfile
from collections.abc import Iterator, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.dataset import catalog
from pipeline.dataset.asset_table import asset_schema, scalar_names
from pipeline.store import Store

CHUNK = 2000
"""Assets of a chunk of data."""
FIRST = 200
"""Assets that come along with the page itself: what one sees before anything else has arrived."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of `table` in `order`."""

    table: pa.Table
    order: np.ndarray

    def __len__(self) -> int:
        return len(self.order)

    def column(self, name: str) -> pa.ChunkedArray:
        """One column in order."""
        return self.table[name].take(pa.array(self.order))

    def without(self, asset_ids: Set[str]) -> "Rows":
        """The others, in the same order."""
        if not asset_ids:
            return self
        ours = self.column("asset_id").to_pylist()
        kept = np.array([asset_id not in asset_ids for asset_id in ours], dtype=bool)
        return replace(self, order=self.order[kept])

    def having(self, asset_ids: Set[str]) -> set[str]:
        """Those of the ids that are here."""
        chunks = self.table["asset_id"].chunks if asset_ids else []
        return {x for chunk in chunks for x in chunk.to_pylist() if x in asset_ids}

    def newest(self, limit: int | None) -> "Rows":
        """The first of them, all without a limit."""
        return replace(self, order=self.order[:limit])

    def chunks(self) -> Iterator[pa.Table]:
        """All rows: a small chunk, which may be empty, then larger ones."""
        ends = [0, min(FIRST, len(self)), *range(FIRST + CHUNK, len(self), CHUNK)]
        if len(self) > FIRST:
            ends.append(len(self))
        for start, end in pairwise(ends):
            yield self.table.take(pa.array(self.order[start:end]))


@contextmanager
def newest_first(store: Store) -> Iterator[Rows]:
    """The scalars of all assets; valid within the block."""
    with (
        tempfile.TemporaryDirectory(prefix="dreambatch-") as directory,
        ExitStack() as stack,
    ):
        tables = [_empty(store), *_mapped(store, Path(directory), stack)]
        whole = pa.concat_tables(tables, promote_options="permissive")
        keys = whole.select(["created_at", "asset_id"])
        keys = keys.append_column("place", pa.array(np.arange(len(whole))))
        newest = keys.sort_by([("created_at", "descending"), ("asset_id", "ascending")])
        yield Rows(table=whole, order=newest["place"].to_numpy())


def _mapped(store: Store, directory: Path, stack: ExitStack) -> Iterator[pa.Table]:
    """The tables of `catalog.ranked_rows`, each in a file that is mapped."""
    for number, table in enumerate(catalog.ranked_rows(store)):
        path = str(directory / f"{number}.arrow")
        bare = table.replace_schema_metadata(None)
        with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, bare.schema) as writer:
            writer.write_table(bare)
        source = stack.enter_context(pa.memory_map(path))
        yield pa.ipc.open_file(source).read_all()


def _empty(store: Store) -> pa.Table:
    schema = asset_schema(store.carried_schema()).remove_metadata()
    return schema.empty_table().select(scalar_names(schema))
