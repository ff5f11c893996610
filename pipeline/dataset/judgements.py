"""What the catalog says of assets that they do not say themselves: scores, and the best seed.

Read from the catalog as it was last written, which an evaluation does at its end. Memory: 32 bytes
an asset, and its scores.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset import catalog
from pipeline.dataset.ranking import COLUMN as BEST
from pipeline.dataset.scores import PREFIX
from pipeline.storage.damage import is_damage
from pipeline.store import Store

_LOG = logging.getLogger(__name__)


class Judgements:
    """Scores by asset id; of assets that nobody has judged there are none."""

    def __init__(self, table: pa.Table) -> None:
        ids = np.array(table["asset_id"].to_pylist(), "U32")
        self._order = np.argsort(ids)
        self._ids = ids[self._order]
        self._columns = table.drop_columns(["asset_id"])

    def of(self, asset_id: str) -> dict[str, Any]:
        """The columns of one asset, those of null left out."""
        place = int(np.searchsorted(self._ids, asset_id))
        if place == len(self._ids) or self._ids[place] != asset_id:
            return {}
        (row,) = self._columns.slice(int(self._order[place]), 1).to_pylist()
        return {name: value for name, value in row.items() if value is not None}


def read(store: Store) -> Judgements:
    """All that the catalog holds; none where there is no catalog, or a damaged one."""
    try:
        with store.objects.fetched(catalog.NAME) as path, pq.ParquetFile(path) as file:
            names = _judged(file.schema_arrow.names)
            if names:
                return Judgements(file.read(["asset_id", *names]))
    except FileNotFoundError:
        pass
    except (pa.ArrowException, OSError) as error:
        if not is_damage(error):
            raise
        _LOG.warning("scores are left out, the catalog is damaged: %s", error)
    return Judgements(pa.table({"asset_id": pa.array([], pa.string())}))


def _judged(names: Sequence[str]) -> list[str]:
    return [name for name in names if name.startswith(PREFIX) or name == BEST]
