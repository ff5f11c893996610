"""Which assets an export is for: all, or those for which a condition holds.

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
from pipeline.errors import UserError
from pipeline.store import Store

_LOCKED: dict[str, Any] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "lock_configuration": "true",
}
_NEAREST = "Candidate bindings: "


def everything(store: Store) -> list[str]:
    """All assets, sorted by id. UserError where there are none."""
    found = sorted(store.committed())
    if not found:
        raise UserError(f"{store.url} holds no assets yet: nothing to export")
    return found


def where(store: Store, condition: str) -> list[str]:
    """The assets for which a condition over the catalog's columns holds, sorted by id.

    UserError for what is no condition, and for one that holds for none.
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
                raise UserError(_mistake(condition, error)) from error
    if not chosen:
        num_assets = len(everything(store))
        raise UserError(
            f"--where {condition!r}: it holds for none of the {num_assets:,} assets of {store.url}"
        )
    return sorted(asset_id for (asset_id,) in chosen)


def _mistake(condition: str, error: Exception) -> str:
    """The reason first, and where there is no such column the nearest ones that DuckDB names."""
    said, *more = str(error).splitlines()
    reason = re.sub(r"^\w+ Error: ", "", said).rstrip("!")
    for line in more:
        if line.startswith(_NEAREST):
            reason += f", the nearest are {line.removeprefix(_NEAREST)}"
    return (
        f"--where {condition!r}: {reason}; expected an SQL condition over the catalog's columns, "
        'such as "mesh_faces > 1000"'
    )
