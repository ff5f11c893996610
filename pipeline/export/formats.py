"""Formats that are made from an asset's own files when they are asked for.

obj          mesh.obj, with mesh.mtl and texture.png where the mesh has one; +Y up as in the GLB
ply          mesh.ply in the world of the cameras, +Z up
mp4          turntable.mp4
textureless  textureless/000.png, ...: each view RGBA, white in the light of a lamp at the camera
"""

import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.errors import UserError

Read = Callable[[str], bytes]
"""The bytes of a file of the asset, by its name."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """From the file `source`, and others that it refers to, to the file `target` and others."""

    source: str
    target: str
    convert: Callable[[Read], Mapping[str, bytes]]
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


def _obj(read: Read) -> Mapping[str, bytes]:
    from engine.export.formats import to_obj

    return to_obj(read("mesh.glb"))


def _ply(read: Read) -> Mapping[str, bytes]:
    from engine.export.formats import to_ply

    return {"mesh.ply": to_ply(read("mesh.glb"))}


def _mp4(read: Read) -> Mapping[str, bytes]:
    from engine.export.video import to_mp4

    return {"turntable.mp4": to_mp4(read("turntable.webp"))}


def _textureless(read: Read) -> Mapping[str, bytes]:
    from engine.export.textureless import textureless

    shared = json.loads(read("transforms.json"))
    made = {}
    for number, own in enumerate(shared["frames"]):
        frame = shared | own
        made[f"textureless/{number:03d}.png"] = textureless(
            read(frame["file_path"]),
            read(frame["normal_file_path"]),
            c2w=[x for row in frame["transform_matrix"] for x in row],
            **{key: frame[key] for key in ("fl_x", "fl_y", "cx", "cy")},
        )
    return made


FORMATS = {
    "obj": Format(source="mesh.glb", target="mesh.obj", convert=_obj),
    "ply": Format(source="mesh.glb", target="mesh.ply", convert=_ply),
    "mp4": Format(source="turntable.webp", target="turntable.mp4", convert=_mp4),
    "textureless": Format(
        source="transforms.json", target="textureless/000.png", convert=_textureless
    ),
}
