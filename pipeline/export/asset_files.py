"""One asset as files that other programs read: pictures, cameras, mesh, and what is known of it.

    transforms.json     cameras, as instant-ngp and nerfstudio read them
    metadata.json       what was asked for, how it was made, statistics, licence
    images/000.png      RGBA; alpha is opacity
    depth/000.png       16 bits: z-depth in steps of `integer_depth_scale` scene units; 0 is nothing
    normals/000.png     world space, rgb / 127.5 - 1; grey is nothing
    masks/000.png       white where alpha is at least .5
    mesh.glb            +Y up, front to +Z; absent where the mesh is empty
    turntable.webp, thumb.png

The world of `transforms.json` is ours: +Z up, front to +X, OpenGL camera-to-world matrices (X
right, Y up, -Z forward), pixel centres at +0.5; its point (x, y, z) is (y, z, x) in the GLB. A step
of depth is a thousandth of a scene unit, which nerfstudio takes for granted, or more where a view
cannot hold its depth so. `aabb` holds the object, and instant-ngp maps it to its unit cube. The
masks are in no frame as `mask_path`: readers leave out what is masked, and would never learn that
there is nothing around the object.

File names are numbers and never a text from the dataset.
"""

import base64
import io
import json
import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
from PIL import Image

from pipeline.dataset import licences
from pipeline.dataset.asset_table import BLOBS, MESH, SCALARS

DEPTH_STEP = 1e-3
"""Scene units of one step of depth."""

_REQUEST = ("prompt_id", "prompt", "negative_prompt", "seed")
_CAMERA = ("fl_x", "fl_y", "cx", "cy", "w", "h")
_STATISTICS = ("mesh_status", "is_best", *MESH.names)
_LATER = ("loss_", "score_", "mesh_", "bbox_")
_DAMAGE = (
    *(KeyError, IndexError, TypeError, ValueError, OSError, OverflowError),
    *(SyntaxError, ZeroDivisionError, struct.error, Image.DecompressionBombError),
)
"""What rows of other shapes raise, and Pillow for pictures that are none."""


class DamagedAsset(Exception):
    """Something in an asset is not what its column says."""


@contextmanager
def damage(what: str = "") -> Iterator[None]:
    """Around what reads an asset: its errors become DamagedAsset, and `what` stands before.

    An OSError that the system numbered is trouble of this machine, such as a full disk: it passes.
    """
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise DamagedAsset(what + reason) from error


@dataclass(frozen=True, kw_only=True)
class Names:
    """Names of files; `{}` is the number of a view, in three digits."""

    transforms: str = "transforms.json"
    metadata: str = "metadata.json"
    image: str = "images/{}.png"
    depth: str = "depth/{}.png"
    normal: str = "normals/{}.png"
    mask: str = "masks/{}.png"
    mesh: str = "mesh.glb"
    turntable: str = "turntable.webp"
    thumb: str = "thumb.png"


def files(asset: Mapping[str, Any], names: Names) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of all files of an asset, which is its row. DamagedAsset if it cannot be."""
    with damage():
        yield names.metadata, _as_json(metadata(asset))
        yield names.transforms, _as_json(transforms(asset, names))
        step = depth_step(asset["views"])
        for number, view in enumerate(asset["views"]):
            for name, data in _pictures(view, step, names):
                yield name.format(f"{number:03d}"), data
        if asset["mesh_glb"] is not None:
            yield names.mesh, asset["mesh_glb"]
        yield names.turntable, asset["turntable"]["bytes"]
        yield names.thumb, asset["thumb"]["bytes"]


def transforms(asset: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """The document of cameras. Intrinsics that all views share stand once, on top."""
    views = asset["views"]
    if not min(view[key] for view in views for key in ("fl_x", "fl_y", "w", "h")) > 0:
        raise ValueError("a camera without a focal length or a size")
    shared = {key: views[0][key] for key in _CAMERA if len({view[key] for view in views}) == 1}
    if {"fl_x", "w"} <= shared.keys():
        shared["camera_angle_x"] = 2.0 * math.atan(0.5 * shared["w"] / shared["fl_x"])
    half = _half_side(asset)
    return shared | {
        "aabb_scale": 1,
        "aabb": [[-half] * 3, [half] * 3],
        "integer_depth_scale": depth_step(views),
        "orientation_override": "none",
        "frames": [_frame(number, view, shared, names) for number, view in enumerate(views)],
    }


def metadata(asset: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for, how it was made, its statistics, and the columns of the manifest."""
    scalars = {key: value for key, value in asset.items() if key not in BLOBS.names}
    statistics = {
        key: value for key, value in scalars.items() if key in _STATISTICS or key.startswith(_LATER)
    }
    known = {*SCALARS.names, *statistics}
    return {
        "asset_id": asset["asset_id"],
        "licence": licences.of_asset(asset["guidance"], asset["mesh_glb"]),
        "request": {key: scalars[key] for key in _REQUEST},
        "columns": {key: value for key, value in scalars.items() if key not in known},
        "provenance": {
            key: scalars[key]
            for key in SCALARS.names
            if key not in {"asset_id", "mesh_status", *_REQUEST}
        },
        "statistics": statistics,
    }


def depth_step(views: list[Mapping[str, Any]]) -> float:
    """Scene units of one step of the depth that is written for these views."""
    return max(DEPTH_STEP, *(view["depth_scale"] for view in views))


def _frame(
    number: int, view: Mapping[str, Any], shared: Mapping[str, Any], names: Names
) -> dict[str, Any]:
    place = f"{number:03d}"
    matrix = np.array(view["c2w"], np.float64).reshape(4, 4)
    return {
        "name": view["name"],
        "file_path": names.image.format(place),
        "depth_file_path": names.depth.format(place),
        "depth_path": names.depth.format(place),
        "normal_file_path": names.normal.format(place),
        "transform_matrix": matrix.tolist(),
        **{key: view[key] for key in _CAMERA if key not in shared},
    }


def _half_side(asset: Mapping[str, Any]) -> float:
    """Half the side of a cube around the origin that holds the mesh, at least 1."""
    corners = [asset[name] for name in MESH.names if name.startswith("bbox_")]
    return max([1.0, *(abs(x) for x in corners if x is not None)])


def _pictures(view: Mapping[str, Any], step: float, names: Names) -> Iterator[tuple[str, bytes]]:
    image, depth = view["image"]["bytes"], view["depth"]["bytes"]
    yield names.image, image
    yield names.depth, _in_steps(depth, view["depth_scale"] / step)
    yield names.normal, _verified(view["normal"]["bytes"])
    yield names.mask, _mask(image)


def _in_steps(png: bytes, factor: float) -> bytes:
    """A depth picture with its values times a factor, rounded; nothing stays nothing."""
    with Image.open(io.BytesIO(png)) as picture:
        values = np.asarray(picture).astype(np.float64)
    if factor == 1.0:
        return png
    steps = np.where(values > 0, np.rint(values * factor).clip(min=1), 0)
    return _png(Image.fromarray(steps.astype(np.uint16)))


def _verified(png: bytes) -> bytes:
    with Image.open(io.BytesIO(png)) as picture:
        picture.verify()
    return png


def _mask(png: bytes) -> bytes:
    with Image.open(io.BytesIO(png)) as picture:
        alpha = np.asarray(picture.convert("RGBA"))[..., 3]
    return _png(Image.fromarray(np.where(alpha >= 128, 255, 0).astype(np.uint8)))


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _as_json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(_plain(document), indent=2, ensure_ascii=False, allow_nan=False).encode()


def _plain(value: Any) -> Any:
    """A value of any Arrow type as JSON has it: moments in ISO 8601, bytes in base 64, what is not
    a number null, all else as its text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, datetime | date):
        return value.isoformat()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
