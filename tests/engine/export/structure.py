"""What a GLB of ours must hold to by the glTF 2.0 specification, checked without node.

`validate_glbs` asks Khronos' own validator, which knows the rest.
"""

import json
import struct
from typing import Any

import numpy as np

_COMPONENTS = {5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
_MAGIC = {"image/png": b"\x89PNG", "image/webp": b"RIFF"}


def parse(data: bytes) -> tuple[dict[str, Any], list[np.ndarray]]:
    """JSON document and the accessors' arrays of a GLB, checking all of it on the way."""
    document, binary = _chunks(data)
    ends = 0
    for view in document["bufferViews"]:
        assert view["byteOffset"] % 4 == 0
        assert view["byteOffset"] >= ends, "views overlap"
        ends = view["byteOffset"] + view["byteLength"]
    assert ends == document["buffers"][0]["byteLength"]
    arrays = [_array(document, binary, accessor) for accessor in document["accessors"]]
    _check_mesh(document, arrays)
    for image in document.get("images", []):
        view = document["bufferViews"][image["bufferView"]]
        assert "target" not in view
        assert binary[view["byteOffset"] :].startswith(_MAGIC[image["mimeType"]])
    extensions = {"KHR_materials_unlit", *document.get("extensionsRequired", [])}
    assert set(document["extensionsUsed"]) == extensions
    return document, arrays


def picture_of(data: bytes) -> bytes:
    """The bytes of the only picture."""
    document, binary = _chunks(data)
    (image,) = document["images"]
    view = document["bufferViews"][image["bufferView"]]
    return binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]


def _chunks(data: bytes) -> tuple[dict[str, Any], bytes]:
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    json_length, json_kind = struct.unpack_from("<I4s", data, 12)
    assert json_kind == b"JSON"
    document = json.loads(data[20 : 20 + json_length])
    binary_length, binary_kind = struct.unpack_from("<I4s", data, 20 + json_length)
    assert binary_kind == b"BIN\0"
    start = 28 + json_length
    assert start + binary_length == len(data)
    assert json_length % 4 == binary_length % 4 == 0
    assert 0 <= binary_length - document["buffers"][0]["byteLength"] < 4
    return document, data[start:]


def _array(document: dict[str, Any], binary: bytes, accessor: dict[str, Any]) -> np.ndarray:
    view = document["bufferViews"][accessor["bufferView"]]
    kind, width = _COMPONENTS[accessor["componentType"]], _WIDTHS[accessor["type"]]
    assert view["byteLength"] == accessor["count"] * width * np.dtype(kind).itemsize
    values = np.frombuffer(binary, kind, accessor["count"] * width, view["byteOffset"])
    values = values.reshape(-1, width)
    for end, found in (("min", values.min(axis=0)), ("max", values.max(axis=0))):
        assert accessor.get(end, found.tolist()) == found.tolist()
    return values


def _check_mesh(document: dict[str, Any], arrays: list[np.ndarray]) -> None:
    (primitive,) = document["meshes"][0]["primitives"]
    attributes = {name: arrays[k] for name, k in primitive["attributes"].items()}
    faces = arrays[primitive["indices"]].reshape(-1, 3)
    positions = attributes["POSITION"]
    assert {"min", "max"} <= document["accessors"][primitive["attributes"]["POSITION"]].keys()
    assert len({len(values) for values in attributes.values()}) == 1
    assert all(np.isfinite(values).all() for values in attributes.values())
    assert faces.max() < len(positions)
    # The largest number of its type would mean the start of another strip.
    assert faces.max() < np.iinfo(faces.dtype).max
    assert (faces != np.roll(faces, 1, axis=1)).all(), "a face with two equal corners"
    if "TEXCOORD_0" in attributes:
        assert attributes["TEXCOORD_0"].min() >= 0.0
        assert attributes["TEXCOORD_0"].max() <= 1.0
