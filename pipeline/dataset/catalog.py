"""One small table of all committed assets, scalars only: what users open first.

It is one object, `catalog/part-00000.parquet`, replaced in one step, so a reader sees the old table
or the new, never both and never none. `asset_file` says which file of the dataset holds the asset,
so that who reads the files that the catalog names meets each asset once, also where a packed one
still lies in a file of its own.

Assets never change: the rows of the old table are kept, and only newer assets are read. A shard is
held at a time, and a row group; the rows go into files of this machine first, for the columns are
known when all have been seen. Two runs that end together both write a whole table; the later one
may miss what was committed after its listing, and the next `write` adds it. An asset that cannot be
read is left out, and named.

Scores lie beside the assets (`scores.py`) and are joined anew each time, so that the columns
`score_*` are what the newest evaluation of each label says; `is_best` follows them (`ranking.py`).
"""

import bisect
import itertools
import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset.asset_table import MESH, SCALARS, asset_schema, parquet_options, scalar_names
from pipeline.dataset.assets import Shard, Unreadable
from pipeline.dataset.ranking import COLUMN as BEST_COLUMN
from pipeline.dataset.ranking import Ranking, Verdicts
from pipeline.dataset.scores import PREFIX, Scores, score_tables
from pipeline.storage.damage import is_damage
from pipeline.store import Store

NAME = "catalog/part-00000.parquet"
FILE_COLUMN = "asset_file"

_LOG = logging.getLogger(__name__)
_ROWS = 65_536
"""Rows of a row group."""


def collect(store: Store) -> pa.Table:
    """The scalar columns of every committed asset, sorted by asset_id.

    Recipes may differ in their losses: an asset without one has null there.
    """
    whole = _concatenated([_empty(store), *ranked_rows(store)])
    return whole.select(_order(store, whole.column_names)).combine_chunks()


def rows(store: Store, *, with_scores: bool = True) -> Iterator[pa.Table]:
    """The same shard by shard, in order, but without `is_best`, which needs them all; one table may
    have columns that another has not."""
    scored = score_tables(store.objects) if with_scores else []
    with _old_rows(store) as old:
        for shard in store.shards():
            if shard.loose or len(shard.packed):
                table = _shard_rows(store, shard, old.of_shard(shard.name))
                for scores in scored:
                    table = scores.join(table)
                yield table


def ranked_rows(store: Store) -> Iterator[pa.Table]:
    """As `rows`, with `is_best`: all rows go into files of this machine first."""
    with _pieces(store) as (pieces, verdicts):
        for piece in pieces:
            yield _with_best(pq.read_table(piece), verdicts)


def write(store: Store) -> str:
    """Bring the catalog up to date; returns its address."""
    with store.objects.scratch(NAME) as path:
        save(store, path)
        return store.objects.publish_from(NAME, path)


def save(store: Store, path: Path) -> None:
    """The catalog as it is to be, as a new file of this machine; writes nothing to the dataset."""
    with _pieces(store) as (pieces, verdicts):
        schemas = [_empty(store).schema, *(pq.read_schema(piece) for piece in pieces)]
        whole = pa.unify_schemas(schemas, promote_options="permissive")
        schema = pa.schema([whole.field(name) for name in _order(store, whole.names)])
        with pq.ParquetWriter(path, schema, **parquet_options(schema)) as writer:
            for piece in pieces:
                table = _concatenated([schema.empty_table(), pq.read_table(piece)])
                table = _with_best(table, verdicts)
                writer.write_table(table.select(schema.names), row_group_size=max(1, len(table)))


@contextmanager
def _pieces(store: Store) -> Iterator[tuple[list[Path], Verdicts]]:
    """All rows in files of this machine, and which of them are the best of theirs."""
    ranking = Ranking(Scores(store.objects).best_by())
    with tempfile.TemporaryDirectory(prefix="dreambatch-") as directory:
        pieces = list(_spooled(_ranked(rows(store), ranking), Path(directory)))
        yield pieces, ranking.verdicts()


def _ranked(tables: Iterable[pa.Table], ranking: Ranking) -> Iterator[pa.Table]:
    """The tables, which the ranking is told of."""
    for table in tables:
        ranking.add(table)
        yield table


def _with_best(table: pa.Table, verdicts: Verdicts) -> pa.Table:
    place = table.column_names.index(BEST_COLUMN)
    return table.set_column(place, BEST_COLUMN, verdicts.column(table))


def _spooled(tables: Iterable[pa.Table], directory: Path) -> Iterator[Path]:
    """The rows in files of a row group each."""
    held: list[pa.Table] = []

    def spool() -> Path:
        path = directory / f"{next(numbers)}.parquet"
        pq.write_table(_concatenated(held), path)
        held.clear()
        return path

    numbers = itertools.count()
    for table in tables:
        held.append(table)
        if sum(map(len, held)) >= _ROWS:
            yield spool()
    if held:
        yield spool()


def _shard_rows(store: Store, shard: Shard, known: pa.Table) -> pa.Table:
    """The rows of one shard: those known, and those of newer assets."""
    committed = shard.asset_ids()
    names = known["asset_id"].to_pylist()
    kept = known.filter(pa.array([name in committed for name in names], pa.bool_()))
    new = sorted(committed.difference(names))
    whole = _concatenated([kept, *readable(store, new, "left out of the catalog")])
    whole = whole.sort_by("asset_id")
    files = [shard.file_of(name) for name in whole["asset_id"].to_pylist()]
    place = whole.column_names.index(FILE_COLUMN)
    return whole.set_column(place, FILE_COLUMN, pa.array(files, pa.string()))


def readable(
    store: Store, asset_ids: list[str], complaint: str, columns: list[str] | None = None
) -> Iterator[pa.Table]:
    """Some columns (None: the scalars) of the assets that can be read, one table each; files that
    cannot are named once, behind the complaint."""
    named = set[str]()
    for found in store.assets.read_each(asset_ids, columns):
        if not isinstance(found, Unreadable):
            yield found
        elif str(found) not in named:
            _LOG.warning("%s: %s", complaint, found)
            named.add(str(found))


class _OldRows:
    """The rows of the catalog as it is, which are sorted, shard by shard."""

    def __init__(self, batches: Iterator[pa.RecordBatch], empty: pa.Table) -> None:
        self._batches = batches
        self._empty = empty
        self._current, self._ids, self._position = empty, list[str](), 0

    def of_shard(self, name: str) -> pa.Table:
        """The rows up to a shard's end that no earlier call gave; shards are asked for in order."""
        end = name.removeprefix("x") + "g"
        tables = [self._empty]
        while True:
            stop = bisect.bisect_left(self._ids, end, lo=self._position)
            tables.append(self._current.slice(self._position, stop - self._position))
            self._position = stop
            if stop < len(self._ids) or not self._advance():
                return _concatenated(tables)

    def _advance(self) -> bool:
        try:
            batch = next(self._batches, None)
        except (pa.ArrowException, OSError) as error:
            _LOG.warning("the catalog is damaged and written anew: %s", error)
            batch = None
        if batch is not None and batch["asset_id"].null_count:
            batch = None
        self._current = self._empty if batch is None else _bare(pa.Table.from_batches([batch]))
        self._ids, self._position = self._current["asset_id"].to_pylist(), 0
        return batch is not None


def _bare(table: pa.Table) -> pa.Table:
    """Without what is worked out anew each time."""
    names = [x for x in table.column_names if x.startswith(PREFIX) or x == BEST_COLUMN]
    return table.drop_columns(names)


@contextmanager
def _old_rows(store: Store) -> Iterator[_OldRows]:
    """The catalog as it is; what cannot be read of it is as if it were not there."""
    batches: Iterator[pa.RecordBatch] = iter(())
    empty = _empty(store)
    with ExitStack() as stack:
        try:
            path = stack.enter_context(store.objects.fetched(NAME))
            file = pq.ParquetFile(path, page_checksum_verification=True)
            stack.callback(file.close)
            pa.unify_schemas([empty.schema, file.schema_arrow])
            if set(SCALARS.names) <= set(file.schema_arrow.names):
                batches = file.iter_batches(batch_size=_ROWS)
        except FileNotFoundError:
            pass
        except (pa.ArrowException, OSError) as error:
            if not is_damage(error):
                raise
            _LOG.warning("the catalog is damaged and written anew: %s", error)
        yield _OldRows(batches, empty)


def _concatenated(tables: Iterable[pa.Table]) -> pa.Table:
    """Rows of tables of which one may have columns that another has not."""
    bare = [table.replace_schema_metadata(None) for table in tables]
    return pa.concat_tables(bare, promote_options="permissive")


def _empty(store: Store) -> pa.Table:
    schema = asset_schema(store.carried_schema())
    schema = schema.append(pa.field(FILE_COLUMN, pa.string()))
    schema = schema.append(pa.field(BEST_COLUMN, pa.bool_()))
    return schema.empty_table().select(scalar_names(schema))


def _order(store: Store, names: list[str]) -> list[str]:
    """The dataset's own columns, losses and other later ones, then the carried columns."""
    own = [*SCALARS.names, FILE_COLUMN, BEST_COLUMN, *MESH.names]
    carried = store.carried_schema().names
    later = sorted(set(names) - {*own, *carried})
    return [*own, *later, *carried]
