"""A mesh as binary glTF 2.0 (Khronos, glTF 2.0 specification, sections 3 and 4.4).

World (x, y, z), +Z up and front +X, becomes (y, z, x): +Y up and front +Z, as glTF wants. That is
a rotation, so triangles keep their winding.

COLOR_0 holds linear light, while albedo is display-referred, so the sRGB curve is undone; in 16
bits, because 8 linear bits leave visible steps in the dark. The material is unlit
(KHR_materials_unlit): a viewer then shows exactly the albedo that the views show, with neither its
own lights nor its tone mapping; dropping the extension leaves a rough dielectric with the albedo as
base colour, to be lit.
The bytes depend on the mesh and the metadata alone.
"""

import json
import struct
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from engine.export.mesh import Mesh

_FLOAT, _UINT16, _UINT32 = 5126, 5123, 5125
_VERTEX_BUFFER, _INDEX_BUFFER = 34962, 34963


def encode(mesh: Mesh, metadata: Mapping[str, str]) -> bytes:
    """The GLB file; `metadata` goes to `asset.extras`."""
    positions = to_gltf(mesh.vertices).astype("<f4")
    linear = np.rint(srgb_to_linear(np.clip(mesh.colours, 0.0, 1.0)) * 65535.0)
    colours = np.full((len(linear), 4), 65535, dtype="<u2")
    colours[:, :3] = linear
    is_small = len(positions) <= 65535
    indices = mesh.faces.ravel().astype("<u2" if is_small else "<u4")
    blocks = [positions.tobytes(), colours.tobytes(), indices.tobytes()]
    document = _document(metadata, [len(block) for block in blocks])
    document["accessors"] = [
        _accessor(0, _FLOAT, "VEC3", len(positions))
        | {"min": positions.min(axis=0).tolist(), "max": positions.max(axis=0).tolist()},
        _accessor(1, _UINT16, "VEC4", len(colours)) | {"normalized": True},
        _accessor(2, _UINT16 if is_small else _UINT32, "SCALAR", len(indices)),
    ]
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    json_chunk = _chunk(b"JSON", text.encode(), b" ")
    binary_chunk = _chunk(b"BIN\0", b"".join(blocks), b"\0")
    length = 12 + len(json_chunk) + len(binary_chunk)
    return struct.pack("<4sII", b"glTF", 2, length) + json_chunk + binary_chunk


def to_gltf(x: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 3"]:
    """World (x, y, z) -> glTF (y, z, x)."""
    return x[:, [1, 2, 0]]


def srgb_to_linear(c: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    """Linear light of an sRGB value in [0, 1] (IEC 61966-2-1)."""
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def _document(metadata: Mapping[str, str], lengths: list[int]) -> dict[str, object]:
    """Everything but the accessors, for three consecutive blocks of `lengths` bytes."""
    offsets = np.cumsum([0, *lengths]).tolist()
    targets = (_VERTEX_BUFFER, _VERTEX_BUFFER, _INDEX_BUFFER)
    return {
        "asset": {"version": "2.0", "generator": "dreambatch", "extras": dict(metadata)},
        "extensionsUsed": ["KHR_materials_unlit"],
        "buffers": [{"byteLength": offsets[-1]}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": offset, "byteLength": length, "target": target}
            for offset, length, target in zip(offsets, lengths, targets, strict=False)
        ],
        "materials": [
            {
                "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0},
                "extensions": {"KHR_materials_unlit": {}},
            }
        ],
        "meshes": [
            {
                "primitives": [
                    {"attributes": {"POSITION": 0, "COLOR_0": 1}, "indices": 2, "material": 0}
                ]
            }
        ],
        "nodes": [{"mesh": 0}],
        "scenes": [{"nodes": [0]}],
        "scene": 0,
    }


def _accessor(view: int, component: int, kind: str, count: int) -> dict[str, object]:
    return {"bufferView": view, "componentType": component, "type": kind, "count": count}


def _chunk(kind: bytes, data: bytes, padding: bytes) -> bytes:
    """A GLB chunk, padded to four bytes."""
    data += padding * (-len(data) % 4)
    return struct.pack("<I4s", len(data), kind) + data
