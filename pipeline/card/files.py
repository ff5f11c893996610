"""Which files of a dataset a card names, so that the hub and `datasets` read each asset once.

A pattern is named where it fits exactly the files that count, else these one by one: a one-asset
file does not count once its asset is packed, a packed file counts if the newest snapshot names it.
"""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.dataset import huggingface
from pipeline.dataset.asset_names import asset_name
from pipeline.dataset.asset_table import asset_schema
from pipeline.store import Store

CATALOG = "catalog/*.parquet"
LOOSE = "assets/*/*.parquet"
PACKED = "packed/*/*.parquet"


@dataclass(frozen=True, kw_only=True)
class Files:
    """Patterns or names of the files that hold the assets. `partition` is the column that packed
    files leave out, if there are such."""

    patterns: list[str]
    partition: str | None


def find(store: Store) -> Files:
    """The files that count at this moment."""
    loose: list[str] = []
    is_each_loose = True
    snapshot = None
    for shard in store.shards():
        snapshot = shard.snapshot
        packed = set(shard.packed.asset_ids())
        is_each_loose = is_each_loose and not packed.intersection(shard.loose)
        loose += [asset_name(x) for x in sorted(shard.loose) if x not in packed]
    names = sorted(file.name for file in snapshot.files) if snapshot else []
    patterns = [PACKED] if names and names == _packed(store) else names
    patterns += [LOOSE] if loose and is_each_loose else loose
    partition = snapshot.partition_by if snapshot and names else None
    return Files(patterns=patterns, partition=partition)


def features(store: Store, files: Files, columns: pa.Schema) -> dict[str, list[dict[str, Any]]]:
    """Features of the assets and of the catalog, whose columns these are.

    `datasets` needs them where files differ in their columns, for the losses of one recipe are not
    those of another. Empty if there is a column of a type that it cannot name.
    """
    losses = [x.removeprefix("loss_") for x in columns.names if x.startswith("loss_")]
    schema = asset_schema(store.carried_schema(), tuple(losses))
    if files.partition is not None and not any(x.startswith("assets/") for x in files.patterns):
        schema = schema.remove(schema.get_field_index(files.partition))
    try:
        schemas = {"assets": schema, "catalog": columns}
        return {name: huggingface.yaml_features(x) for name, x in schemas.items()}
    except NotImplementedError:
        return {}


def _packed(store: Store) -> list[str]:
    """All packed files that are there, whether they count or not."""
    directories = [f"packed/{name}" for name in store.objects.names("packed")]
    listings = store.objects.map(store.objects.names, directories)
    found = zip(directories, listings, strict=True)
    return sorted(f"{directory}/{name}" for directory, names in found for name in names)
