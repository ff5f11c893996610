"""Reads the GLB files that `engine.export.glb` writes; of glTF it knows no more."""

import io
import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

_NUMBERS = {5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


@dataclass(frozen=True, kw_only=True)
class GlbMesh:
    """A mesh with either a texture or colours at its vertices. Axes are glTF's, +Y up, front +Z."""

    positions: Float[np.ndarray, "W 3"]
    faces: Int[np.ndarray, "F 3"]
    uv: Float[np.ndarray, "W 2"] | None
    """(0, 0) is the picture's top left corner, v grows downwards."""
    picture: UInt8[np.ndarray, "h w 3"] | None
    colours: Float[np.ndarray, "W 3"] | None
    """Display-referred (sRGB), in [0, 1]."""
    metadata: dict[str, str]


def read(data: bytes) -> GlbMesh:
    """The mesh of a GLB file. Raises ValueError where the bytes are no GLB of ours."""
    document, binary = _chunks(data)
    primitive = document["meshes"][0]["primitives"][0]
    attributes = primitive["attributes"]

    def array(number: int) -> np.ndarray:
        accessor = document["accessors"][number]
        block = _block(document, binary, accessor["bufferView"])
        values = np.frombuffer(block, _NUMBERS[accessor["componentType"]])
        return values.reshape(accessor["count"], _WIDTHS[accessor["type"]])

    is_textured = "TEXCOORD_0" in attributes
    picture = colours = None
    if is_textured:
        block = _block(document, binary, document["images"][0]["bufferView"])
        with Image.open(io.BytesIO(block)) as image:
            picture = np.asarray(image.convert("RGB"))
    else:
        colours = linear_to_srgb(array(attributes["COLOR_0"])[:, :3] / 65535.0)
    return GlbMesh(
        positions=array(attributes["POSITION"]),
        faces=array(primitive["indices"]).reshape(-1, 3).astype(np.int64),
        uv=array(attributes["TEXCOORD_0"]) if is_textured else None,
        picture=picture,
        colours=colours,
        metadata=document["asset"].get("extras", {}),
    )


def linear_to_srgb(x: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    """sRGB value of linear light in [0, 1] (IEC 61966-2-1)."""
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-9) ** (1 / 2.4) - 0.055)


def _chunks(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The JSON document and the binary chunk."""
    if data[:4] != b"glTF" or len(data) < 28:
        raise ValueError(f"GLB: expected a binary glTF file, got {len(data)} bytes of another kind")
    (length,) = struct.unpack_from("<I", data, 12)
    return json.loads(data[20 : 20 + length]), data[28 + length :]


def _block(document: dict[str, Any], binary: bytes, number: int) -> bytes:
    view = document["bufferViews"][number]
    return binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
