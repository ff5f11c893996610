"""Which assets a command is for: named ones, all, or those for which a condition holds.

A condition is an SQL expression over the columns of the catalog, as in `WHERE`. DuckDB parses it as
one expression and evaluates it in a database of its own that sees the catalog and nothing else: no
file, no network, no extension, no variable of this process, and its settings are locked. The
catalog is brought up to date for it in a file of this machine and is read by the column.
"""

import re
import tempfile
from pathlib import Path
from typing import Any

from pipeline.dataset import catalog
from pipeline.dataset.asset_names import SHARDS
from pipeline.errors import UserError
from pipeline.store import Store

_PREFIX = re.compile(r"[0-9a-f]{1,32}")
_SHOWN = 4
_LOCKED: dict[str, Any] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "lock_configuration": "true",
}


def named(store: Store, prefixes: tuple[str, ...]) -> list[str]:
    """The assets whose ids begin so, in the order given and each once.

    UserError for a beginning of no asset, or of several.
    """
    return list(dict.fromkeys(_find(store, prefix) for prefix in prefixes))


def everything(store: Store) -> list[str]:
    """All assets, sorted by id."""
    return sorted(store.committed())


def where(store: Store, condition: str) -> list[str]:
    """The assets for which a condition over the catalog's columns holds, sorted by id.

    UserError for what is no condition.
    """
    import duckdb
    import pyarrow.dataset

    with tempfile.TemporaryDirectory(prefix="dreambatch-") as directory:
        path = Path(directory) / "catalog.parquet"
        catalog.save(store, path)
        table = pyarrow.dataset.dataset(path)
        with duckdb.connect(":memory:", config=_LOCKED) as database:
            database.register("catalog", table)
            try:
                chosen = database.table("catalog").filter(condition).project("asset_id").fetchall()
            except duckdb.Error as error:
                raise UserError(_mistake(condition, error, table.schema.names)) from error
    return sorted(asset_id for (asset_id,) in chosen)


def _find(store: Store, prefix: str) -> str:
    if not _PREFIX.fullmatch(prefix):
        raise UserError(f"--asset {prefix!r}: expected an asset's id, or its first digits (0-9a-f)")
    shards = [name for name in SHARDS if name[1:].startswith(prefix[:2])]
    ids = (store.assets.shard(name).asset_ids() for name in shards)
    found = sorted(x for some in ids for x in some if x.startswith(prefix))
    if not found:
        raise UserError(f"--asset {prefix}: {store.url} has no asset whose id begins so")
    if len(found) > 1:
        shown = ", ".join(found[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")
        raise UserError(f"--asset {prefix}: {len(found)} ids begin so, say more digits: {shown}")
    return found[0]


def _mistake(condition: str, error: Exception, columns: list[str]) -> str:
    said = str(error).partition("\n")[0]
    return (
        f'--where {condition!r}: expected an SQL condition such as "mesh_faces > 1000" over '
        f"{', '.join(columns)} ({said})"
    )
