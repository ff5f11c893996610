"""Datasets with true meshes for the gallery's tests, and what a page would read of its scripts."""

import json
import re
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.export import glb
from engine.export.asset import Asset
from engine.export.mesh import Mesh
from pipeline.dataset.asset_table import asset_table, to_parquet_bytes
from pipeline.records import Failure, Rejection
from pipeline.store import Store
from tests.pipeline.sample_assets import (
    CARRIED,
    open_store,
    sample_asset,
    sample_provenance,
    sample_run,
    sample_task,
)

CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
SIDES = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
"""Corners of the six sides, counter-clockwise seen from outside."""
SMALL = sample_asset()
"""Its pictures are what takes time to make."""

HOSTILE = [
    "<script>window.owned = 1</script>",
    "</script><script>window.owned = 2</script>",
    '"><img src=x onerror="window.owned = 3">',
    "javascript:window.owned=4//'\\\"`${window.owned = 5}`",
    "two \u2028 lines \u2029 and a null \x00 byte <!-- ]]> --&gt; &lt;",
    "\u202eturned round\u2066 and \u2069 left",
    "سيارة حمراء بعجلات زرقاء",
    "👩\u200d🚀 猫 e\u0301 \ufeff",
    "__proto__ constructor toString",
    "x" * 4096,
]


def cube(colour: tuple[float, float, float] = (0.9, 0.1, 0.1)) -> bytes:
    """The GLB of a cube of one colour."""
    faces = np.array([t for a, b, c, d in SIDES for t in ((a, b, c), (a, c, d))])
    colours = np.tile(np.array(colour), (8, 1))
    return glb.encode(Mesh(vertices=CORNERS * 0.4, faces=faces, colours=colours, level=1.0), {})


def textured_square() -> bytes:
    """The GLB of a square that faces the front, with an embedded picture: its upper half is red,
    its lower half is blue."""
    from io import BytesIO

    from PIL import Image

    picture = Image.new("RGB", (16, 16), (0, 0, 255))
    picture.paste((255, 0, 0), (0, 0, 16, 8))
    stream = BytesIO()
    picture.save(stream, "PNG")
    positions = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], dtype="<f4")
    uv = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], dtype="<f4")
    indices = np.array([0, 1, 2, 0, 2, 3], dtype="<u2")
    blocks = [positions.tobytes(), uv.tobytes(), indices.tobytes(), stream.getvalue()]
    starts = np.cumsum([0, *map(len, blocks)]).tolist()
    kinds = [(5126, "VEC3", 4), (5126, "VEC2", 4), (5123, "SCALAR", 6)]
    document = {
        "asset": {"version": "2.0"},
        "buffers": [{"byteLength": starts[-1]}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": start, "byteLength": len(block)}
            for start, block in zip(starts, blocks, strict=False)
        ],
        "accessors": [
            {"bufferView": n, "componentType": component, "type": kind, "count": count}
            for n, (component, kind, count) in enumerate(kinds)
        ],
        "images": [{"bufferView": 3, "mimeType": "image/png"}],
        "textures": [{"source": 0}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        "meshes": [
            {
                "primitives": [
                    {"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "indices": 2, "material": 0}
                ]
            }
        ],
    }
    text, binary = json.dumps(document).encode(), b"".join(blocks)
    text += b" " * (-len(text) % 4)
    binary += bytes(-len(binary) % 4)
    return (
        struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(binary))
        + struct.pack("<I4s", len(text), b"JSON")
        + text
        + struct.pack("<I4s", len(binary), b"BIN\0")
        + binary
    )


def with_mesh(mesh: bytes) -> Asset:
    """The sample asset with another mesh and a picture of a square on white."""
    return replace(SMALL, mesh_glb=mesh)


def commit(
    store: Store,
    number: int,
    *,
    prompt: str | None = None,
    collection: str = "demo",
    asset: Asset = SMALL,
    status: str = "ok",
) -> str:
    """Commits the sample task of a number, made `number` seconds after the others; its id."""
    task = sample_task(number, prompt=prompt, collection=collection)
    provenance = replace(sample_provenance(second=number % 60), status=status)
    table = asset_table(task, asset, provenance, CARRIED)
    store.commit(task.asset_id, to_parquet_bytes(table))
    return task.asset_id


def add_unmade(store: Store) -> None:
    """A run with a rejected row, and two prompts that were given up, of which one was made later:
    sample task 0."""
    store.start_run(sample_run())
    store.write_rejections(
        "run-1", [Rejection(row=3, prompt_id=None, prompt=None, reason="prompt is empty")]
    )
    for number, reason in ((900, "the density is not finite"), (0, "it hung")):
        task = sample_task(number, prompt=HOSTILE[0] if number else None)
        for attempt in (1, 2):
            store.write_failure(
                Failure(
                    asset_id=task.asset_id,
                    attempt_id=f"{attempt:032x}",
                    prompt_id=task.prompt.prompt_id,
                    prompt=task.prompt.prompt,
                    error_kind="diverged",
                    message=f"{reason}, attempt {attempt}",
                    attempts=attempt,
                    quarantined=attempt == 2,
                )
            )


def filled(path: Path, count: int, prompts: Sequence[str] = ()) -> Store:
    """A dataset of sample assets; the first have these prompts."""
    store = open_store(str(path))
    for number in range(count):
        prompt = prompts[number] if number < len(prompts) else None
        commit(store, number, prompt=prompt, collection=("toys", "tools")[number % 2])
    return store


def calls(script: bytes) -> list[list[Any]]:
    """The arguments of the calls that a script of data makes."""
    found = re.findall(r"dreambatch\.receive\((.*)\);\n", script.decode("ascii"))
    return [json.loads(f"[{arguments}]") for arguments in found]


def read_page(directory: Path) -> dict[str, Any]:
    """What the page of a directory loads: `head`, and the rows of all chunks as dicts."""
    page = (directory / "index.html").read_text()
    (name,) = re.findall(r'src="(data/index-[0-9a-f]{16}\.js)"', page)
    ((kind, head, first),) = calls((directory / name).read_bytes())
    assert kind == "start"
    chunks = [first]
    for number, chunk in enumerate(head["chunks"]):
        ((kind, given, arrays),) = calls((directory / chunk).read_bytes())
        assert (kind, given) == ("rows", number)
        chunks.append(arrays)
    names = [column["name"] for column in head["columns"]]
    rows = [
        dict(zip(names, values, strict=True))
        for arrays in chunks
        for values in zip(*arrays, strict=True)
    ]
    unmade = []
    if head["unmade"]:
        ((kind, unmade),) = calls((directory / head["unmade"]).read_bytes())
        assert kind == "unmade"
    return {"head": head, "rows": rows, "unmade": unmade}


def media_of(directory: Path, asset_id: str) -> dict[str, bytes]:
    """The files of an asset by suffix."""
    stem = directory / f"media/x{asset_id[:2]}" / asset_id
    return {suffix: stem.with_suffix(f".{suffix}").read_bytes() for suffix in ("webp", "png", "js")}
