"""The Arrow form of one asset: its schema, its one-row table, its Parquet bytes.

Others rely on these names and types from the first day: a column may be added, none may change.
Lengths are in scene units, times in seconds, angles named `_deg` in degrees. `c2w` is the OpenGL
camera-to-world matrix in 16 row-major numbers; depth in scene units = PNG value x `depth_scale`.
Pictures are structs of their encoded bytes and a file name, as Hugging Face `datasets` has them.
"""

import io
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset import huggingface
from pipeline.dataset.huggingface import IMAGE
from pipeline.records import Provenance, Task

if TYPE_CHECKING:
    from engine.export.asset import Asset, View

VIEW = pa.struct(
    [
        ("name", pa.string()),
        ("image", IMAGE),
        ("depth", IMAGE),
        ("normal", IMAGE),
        ("c2w", pa.list_(pa.float64())),
        ("fl_x", pa.float64()),
        ("fl_y", pa.float64()),
        ("cx", pa.float64()),
        ("cy", pa.float64()),
        ("w", pa.int64()),
        ("h", pa.int64()),
        ("depth_scale", pa.float64()),
        ("azimuth_deg", pa.float64()),
        ("elevation_deg", pa.float64()),
        ("radius", pa.float64()),
    ]
)

SCALARS = pa.schema(
    [
        ("asset_id", pa.string()),
        ("prompt_id", pa.string()),
        ("prompt", pa.string()),
        ("negative_prompt", pa.string()),
        ("seed", pa.int64()),
        ("seed_used", pa.int64()),
        ("attempt_id", pa.string()),
        ("status", pa.string()),
        ("mesh_status", pa.string()),
        ("recipe", pa.string()),
        ("recipe_digest", pa.string()),
        ("guidance", pa.string()),
        ("guidance_digest", pa.string()),
        ("created_at", pa.timestamp("us", tz="UTC")),
        ("attempts", pa.int64()),
        ("iterations", pa.int64()),
        ("gpu_seconds", pa.float64()),
        ("device", pa.string()),
        ("peak_memory_bytes", pa.int64()),
    ]
)

BLOBS = pa.schema(
    [
        ("thumb", IMAGE),
        ("views", pa.list_(VIEW)),
        ("mesh_glb", pa.binary()),
        ("turntable", IMAGE),
        ("field", pa.binary()),
    ]
)

MESH = pa.schema(
    [
        ("mesh_vertices", pa.int64()),
        ("mesh_faces", pa.int64()),
        ("mesh_components", pa.int64()),
        ("mesh_watertight", pa.bool_()),
        ("mesh_volume", pa.float64()),
        ("mesh_area", pa.float64()),
        ("mesh_level", pa.float64()),
        *((f"bbox_{side}_{axis}", pa.float64()) for side in ("min", "max") for axis in "xyz"),
    ]
)

_RESERVED = {*SCALARS.names, *BLOBS.names, "shard", "asset_file", "is_best", "num_seeds", ""}
_RESERVED_PREFIXES = ("mesh_", "bbox_", "loss_", "score_")


def is_reserved(name: str) -> bool:
    """Whether a column name is, or may become, the dataset's own; readers ignore case, so do we."""
    return name.lower() in _RESERVED or name.lower().startswith(_RESERVED_PREFIXES)


def asset_schema(extra: pa.Schema, loss_names: tuple[str, ...] = ()) -> pa.Schema:
    """Scalars, pictures and blobs, mesh statistics, losses by name, then the carried columns."""
    losses = [pa.field(f"loss_{name}", pa.float64()) for name in sorted(loss_names)]
    schema = pa.schema([*SCALARS, *BLOBS, *MESH, *losses, *extra])
    return schema.with_metadata(huggingface.metadata(schema))


def asset_table(task: Task, asset: "Asset", provenance: Provenance, extra: pa.Schema) -> pa.Table:
    """One row: the asset, its request and how it was made.

    `extra` gives the carried columns' types (`Store.carried_schema()`); an empty mesh is a null
    `mesh_glb`, and its statistics that are NaN become null.
    """
    mesh = {name: None if value != value else value for name, value in asset.mesh.items()}
    row = _scalars(task, asset, provenance) | _blobs(task, asset) | mesh
    row |= {f"loss_{name}": value for name, value in provenance.losses.items()}
    row |= {column.name: task.prompt.extra.get(column.name) for column in extra}
    schema = asset_schema(extra, tuple(provenance.losses))
    assert row.keys() <= set(schema.names), row.keys() - set(schema.names)
    arrays = [pa.array([row.get(column.name)], type=column.type) for column in schema]
    return pa.table(arrays, schema=schema)


def to_parquet_bytes(table: pa.Table) -> bytes:
    """The table as one Parquet file, one row group up to a million rows: for `Store.commit`."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **parquet_options(table.schema))
    return buffer.getvalue()


def parquet_options(schema: pa.Schema) -> dict[str, Any]:
    """How files with assets are written.

    Pictures, GLB and field are compressed already: they are stored as they are, without a
    dictionary and statistics, so that reading them is one copy. The rest is zstd. Each page has a
    checksum, by which `pipeline.dataset.packing` knows a damaged asset.
    """
    blobs, others = _blob_leaves(schema)
    return {
        "compression": dict.fromkeys(blobs, "none") | dict.fromkeys(others, "zstd"),
        "use_dictionary": others,
        "write_statistics": others,
        "write_page_checksum": True,
    }


def scalar_names(schema: pa.Schema) -> list[str]:
    """The columns without pictures and blobs: what the catalog holds."""
    return [name for name in schema.names if name not in BLOBS.names]


def _scalars(task: Task, asset: "Asset", provenance: Provenance) -> dict[str, Any]:
    return {
        "asset_id": task.asset_id,
        "prompt_id": task.prompt.prompt_id,
        "prompt": task.prompt.prompt,
        "negative_prompt": task.prompt.negative_prompt,
        "seed": task.prompt.seed,
        "seed_used": provenance.seed_used,
        "attempt_id": provenance.attempt_id,
        "status": provenance.status,
        "mesh_status": asset.mesh_status,
        "recipe": task.recipe_name,
        "recipe_digest": task.recipe_digest,
        "guidance": task.guidance,
        "guidance_digest": task.guidance_digest,
        "created_at": provenance.created_at,
        "attempts": provenance.attempts,
        "iterations": provenance.iterations,
        "gpu_seconds": provenance.gpu_seconds,
        "device": provenance.device,
        "peak_memory_bytes": provenance.peak_memory_bytes,
    }


def _blobs(task: Task, asset: "Asset") -> dict[str, Any]:
    stem = task.asset_id
    return {
        "thumb": {"bytes": asset.thumb, "path": f"{stem}.png"},
        "views": [_view(stem, view) for view in asset.views],
        "mesh_glb": asset.mesh_glb,
        "turntable": {"bytes": asset.turntable, "path": f"{stem}.webp"},
        "field": asset.field,
    }


def _view(stem: str, view: "View") -> dict[str, Any]:
    assert len(view.c2w) == 16, len(view.c2w)
    pictures = {"image": view.image, "depth": view.depth, "normal": view.normal}
    row: dict[str, Any] = {column.name: getattr(view, column.name) for column in VIEW.fields}
    return row | {
        kind: {"bytes": data, "path": f"{stem}-{view.name}-{kind}.png"}
        for kind, data in pictures.items()
    }


@lru_cache(maxsize=16)
def _blob_leaves(schema: pa.Schema) -> tuple[list[str], list[str]]:
    """Parquet's leaf paths (`views.list.element.image.bytes`): those of blobs, and the others."""
    buffer = io.BytesIO()
    pq.write_table(schema.empty_table(), buffer)
    leaves = pq.ParquetFile(buffer).schema
    blobs, others = [], []
    for leaf in (leaves.column(index) for index in range(len(leaves))):
        is_bytes = leaf.physical_type == "BYTE_ARRAY" and leaf.logical_type.type == "NONE"
        is_blob = is_bytes and leaf.path.split(".")[0] in BLOBS.names
        (blobs if is_blob else others).append(leaf.path)
    return blobs, others
