"""Formats that are made from an asset's own files when they are asked for.

obj   mesh.obj, with mesh.mtl and texture.png where the mesh has a texture; +Y up as in the GLB
ply   mesh.ply in the world of the cameras, +Z up
mp4   turntable.mp4
"""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Format:
    """From the file `source` to the file `target`, and others that it refers to."""

    source: str
    target: str
    convert: Callable[[bytes], Mapping[str, bytes]]
    """Names and bytes; ValueError for what is not the source that it should be."""


def parse(words: tuple[str, ...]) -> tuple[str, ...]:
    """`obj,ply mp4` as names of formats, each once.

    UserError for another name, and for a format whose package is not installed.
    """
    names = [name for word in words for name in word.split(",") if name]
    for name in names:
        if name not in FORMATS:
            raise UserError(f"--format {name}: expected some of {', '.join(FORMATS)}")
    if "mp4" in names and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise UserError("--format mp4: needs ffmpeg (pip install 'dreambatch[video]')")
    return tuple(dict.fromkeys(names))


def _obj(glb: bytes) -> Mapping[str, bytes]:
    from engine.export.formats import to_obj

    return to_obj(glb)


def _ply(glb: bytes) -> Mapping[str, bytes]:
    from engine.export.formats import to_ply

    return {"mesh.ply": to_ply(glb)}


def _mp4(turntable: bytes) -> Mapping[str, bytes]:
    from engine.export.video import to_mp4

    return {"turntable.mp4": to_mp4(turntable)}


FORMATS = {
    "obj": Format(source="mesh.glb", target="mesh.obj", convert=_obj),
    "ply": Format(source="mesh.glb", target="mesh.ply", convert=_ply),
    "mp4": Format(source="turntable.webp", target="turntable.mp4", convert=_mp4),
}
