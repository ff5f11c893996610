"""One small table of all committed assets, scalars only: what users open first.

It is one object, `catalog/part-00000.parquet`, replaced in one step, so a reader sees the old table
or the new, never both and never none. Assets never change, so the rows of the old table are kept
and only newer assets are read. Two runs that end together both write a whole table; the later one
may miss what was committed after its listing, and the next `write` adds it.
"""

import pyarrow as pa

from pipeline.asset_table import MESH, SCALARS, asset_schema, scalar_names, to_parquet_bytes
from pipeline.store import Store

NAME = "catalog/part-00000.parquet"


def collect(store: Store) -> pa.Table:
    """The scalar columns of every committed asset, sorted by asset_id.

    Recipes may differ in their losses: an asset without one has null there.
    """
    committed = store.committed()
    tables = [_empty(store)]
    known = store.read_table(NAME)
    if known is not None:
        names = known["asset_id"].to_pylist()
        tables.append(known.filter(pa.array([name in committed for name in names], pa.bool_())))
        committed.difference_update(names)
    tables += store.read_assets(sorted(committed))
    bare = [table.replace_schema_metadata(None) for table in tables]
    whole = pa.concat_tables(bare, promote_options="permissive")
    return whole.select(_order(store, whole.column_names)).sort_by("asset_id").combine_chunks()


def write(store: Store) -> str:
    """Bring the catalog up to date; returns its address."""
    return store.publish(NAME, to_parquet_bytes(collect(store)))


def _empty(store: Store) -> pa.Table:
    schema = asset_schema(store.carried_schema())
    return schema.empty_table().select(scalar_names(schema))


def _order(store: Store, names: list[str]) -> list[str]:
    """The dataset's own columns, losses and other later ones, then the carried columns."""
    own, carried = [*SCALARS.names, *MESH.names], store.carried_schema().names
    later = sorted(set(names) - {*own, *carried})
    return [*own, *later, *carried]
