"""A mesh as binary glTF 2.0 (Khronos, glTF 2.0 specification, sections 3 and 4.4).

World (x, y, z), +Z up and front +X, becomes (y, z, x): +Y up and front +Z, as glTF wants. That is
a rotation, so triangles keep their winding.

A textured mesh has TEXCOORD_0 and its picture as base colour, which glTF takes to be sRGB as albedo
is. A mesh without has COLOR_0, which holds linear light, so the sRGB curve is undone; in 16 bits,
because 8 linear bits leave visible steps in the dark.

The material is unlit (KHR_materials_unlit): a viewer then shows exactly the albedo that the views
show, with neither its own lights nor its tone mapping; dropping the extension leaves a rough
dielectric with the albedo as base colour, to be lit.
The bytes depend on the mesh, the texture and the metadata alone.
"""

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from engine.configs.export import TextureFormat
from engine.export import images
from engine.export.mesh import Mesh
from engine.export.texture import Texture

_FLOAT, _UINT16, _UINT32 = 5126, 5123, 5125
_VERTEX_BUFFER, _INDEX_BUFFER = 34962, 34963
_LINEAR, _LINEAR_MIPMAP_LINEAR, _CLAMP_TO_EDGE = 9729, 9987, 33071
_WEBP = "EXT_texture_webp"


class _Binary:
    """The binary chunk in the making: blocks of bytes, each at a multiple of four."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, int]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, block: bytes, **target: int) -> int:
        """Number of the new buffer view."""
        self.data += b"\0" * (-len(self.data) % 4)
        self.views.append(
            {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(block), **target}
        )
        self.data += block
        return len(self.views) - 1

    def access(self, values: np.ndarray, kind: str, target: int, **more: Any) -> int:
        """Number of a new accessor to the rows of `values`."""
        component = {"<f4": _FLOAT, "<u2": _UINT16, "<u4": _UINT32}[values.dtype.str]
        self.accessors.append(
            {
                "bufferView": self.add(values.tobytes(), target=target),
                "componentType": component,
                "type": kind,
                "count": len(values),
                **more,
            }
        )
        return len(self.accessors) - 1


def encode(
    mesh: Mesh,
    metadata: Mapping[str, str],
    texture: Texture | None = None,
    picture_format: TextureFormat = "png",
) -> bytes:
    """The GLB file; `metadata` goes to `asset.extras`. Without a texture, vertices have colours."""
    binary = _Binary()
    if texture is None:
        attributes, indices = _coloured(binary, mesh)
        look: dict[str, Any] = {}
    else:
        attributes, indices = _textured(binary, mesh, texture)
        look = _picture(binary, texture, picture_format)
    document = _document(metadata, attributes, indices, binary, look)
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    json_chunk = _chunk(b"JSON", text.encode(), b" ")
    binary_chunk = _chunk(b"BIN\0", bytes(binary.data), b"\0")
    length = 12 + len(json_chunk) + len(binary_chunk)
    return struct.pack("<4sII", b"glTF", 2, length) + json_chunk + binary_chunk


def to_gltf(x: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 3"]:
    """World (x, y, z) -> glTF (y, z, x)."""
    return x[:, [1, 2, 0]]


def srgb_to_linear(c: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    """Linear light of an sRGB value in [0, 1] (IEC 61966-2-1)."""
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def _coloured(binary: _Binary, mesh: Mesh) -> tuple[dict[str, int], int]:
    """Accessors of the attributes and of the indices of a mesh with colours at its vertices."""
    position = _positions(binary, mesh.vertices)
    colours = np.full((len(mesh.colours), 4), 65535, dtype="<u2")
    linear = srgb_to_linear(np.clip(mesh.colours, 0.0, 1.0))
    colours[:, :3] = np.rint(linear * 65535.0)
    colour = binary.access(colours, "VEC4", _VERTEX_BUFFER, normalized=True)
    indices = _indices(binary, mesh.faces, len(mesh.vertices))
    return {"POSITION": position, "COLOR_0": colour}, indices


def _textured(binary: _Binary, mesh: Mesh, texture: Texture) -> tuple[dict[str, int], int]:
    """The same with texture coordinates, cut along the seams."""
    position = _positions(binary, mesh.vertices[texture.vertex])
    uv = binary.access(texture.uv.astype("<f4"), "VEC2", _VERTEX_BUFFER)
    indices = _indices(binary, texture.faces, len(texture.vertex))
    return {"POSITION": position, "TEXCOORD_0": uv}, indices


def _positions(binary: _Binary, vertices: Float[np.ndarray, "V 3"]) -> int:
    values = to_gltf(vertices).astype("<f4")
    low, high = values.min(axis=0).tolist(), values.max(axis=0).tolist()
    return binary.access(values, "VEC3", _VERTEX_BUFFER, min=low, max=high)


def _indices(binary: _Binary, faces: Int[np.ndarray, "F 3"], num_vertices: int) -> int:
    kind = "<u2" if num_vertices <= 65535 else "<u4"
    return binary.access(faces.ravel().astype(kind), "SCALAR", _INDEX_BUFFER)


def _picture(binary: _Binary, texture: Texture, picture_format: TextureFormat) -> dict[str, Any]:
    """The document's entries for the picture; its texture has the number 0."""
    picture = Image.fromarray(texture.picture)
    data = images.png(picture) if picture_format == "png" else images.webp(picture)
    entries: dict[str, Any] = {
        "images": [{"bufferView": binary.add(data), "mimeType": f"image/{picture_format}"}],
        "samplers": [
            {
                "magFilter": _LINEAR,
                "minFilter": _LINEAR_MIPMAP_LINEAR,
                "wrapS": _CLAMP_TO_EDGE,
                "wrapT": _CLAMP_TO_EDGE,
            }
        ],
        "textures": [{"sampler": 0, "source": 0}],
    }
    if picture_format == "webp":
        entries["textures"] = [{"sampler": 0, "extensions": {_WEBP: {"source": 0}}}]
        entries["extensionsRequired"] = [_WEBP]
    return entries


def _document(
    metadata: Mapping[str, str],
    attributes: dict[str, int],
    indices: int,
    binary: _Binary,
    look: dict[str, Any],
) -> dict[str, Any]:
    surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    if look:
        surface["baseColorTexture"] = {"index": 0}
    return look | {
        "asset": {"version": "2.0", "generator": "dreambatch", "extras": dict(metadata)},
        "extensionsUsed": ["KHR_materials_unlit", *look.get("extensionsRequired", [])],
        "buffers": [{"byteLength": len(binary.data)}],
        "bufferViews": binary.views,
        "accessors": binary.accessors,
        "materials": [{"pbrMetallicRoughness": surface, "extensions": {"KHR_materials_unlit": {}}}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}],
        "nodes": [{"mesh": 0}],
        "scenes": [{"nodes": [0]}],
        "scene": 0,
    }


def _chunk(kind: bytes, data: bytes, padding: bytes) -> bytes:
    """A GLB chunk, padded to four bytes."""
    data += padding * (-len(data) % 4)
    return struct.pack("<I4s", len(data), kind) + data
