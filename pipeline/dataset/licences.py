"""Under which licence assets are: what comes out of a diffusion model is its licence's to say.

The mesh of an asset names the licence that the model's card named when the asset was made; of the
embedded model it is known anyway. Names are the hub's, such as `apache-2.0`.
"""

import json
import struct
from collections.abc import Iterable
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import InvalidStore
from pipeline.store import Store

UNKNOWN = "unknown"

_OWN = {"primitives": "apache-2.0"}
_COLUMNS = ["asset_id", "guidance", "mesh_status"]


def of_asset(guidance: str, mesh_glb: bytes | None) -> str:
    """The licence of an asset made with a diffusion model."""
    return _OWN.get(guidance) or (None if mesh_glb is None else _in_glb(mesh_glb)) or UNKNOWN


def of_models(store: Store, catalog: Path) -> dict[str, str]:
    """The licences of what each model of a catalog has made, from one asset of each.

    `catalog` is a file of this machine.
    """
    rows = pq.read_table(catalog, columns=_COLUMNS)
    found = {str(x): of_asset(str(x), None) for x in rows["guidance"].unique()}
    with_mesh = rows.filter(pc.field("mesh_status") == "ok")
    firsts = with_mesh.group_by("guidance").aggregate([("asset_id", "min")])
    for first in firsts.to_pylist():
        if found[first["guidance"]] == UNKNOWN:
            mesh_glb = _mesh(store, first["asset_id_min"])
            found[first["guidance"]] = of_asset(first["guidance"], mesh_glb)
    return found


def of_all(licences: Iterable[str]) -> str:
    """One name for the licences of a whole."""
    names = set(licences)
    return names.pop() if len(names) == 1 else "other"


def _mesh(store: Store, asset_id: str) -> bytes | None:
    try:
        (table,) = store.read_assets([asset_id], ["mesh_glb"])
    except (InvalidStore, FileNotFoundError):  # said where the asset itself is wanted
        return None
    return table["mesh_glb"][0].as_py()


def _in_glb(data: bytes) -> str | None:
    """What a GLB says of its licence in `asset.extras`; None if it says nothing."""
    try:
        (length,) = struct.unpack_from("<I", data, 12)
        said = json.loads(data[20 : 20 + length])["asset"]["extras"]["licence"]
    except (struct.error, ValueError, KeyError, TypeError):
        return None
    return said if isinstance(said, str) else None
