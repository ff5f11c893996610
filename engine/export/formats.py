"""The mesh of an asset in other formats, made from its GLB when somebody asks.

OBJ   glTF's axes, +Y up and front +Z, as programs expect of an OBJ file; with its texture
PLY   the dataset's world axes, +Z up and front +X, those of the cameras and of `transforms.json`;
      closed again along the seams of the texture, with the texture's colours at the vertices

Both carry the metadata as a comment of one line of JSON; the bytes depend on the GLB alone.
"""

import json

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from engine.export import images
from engine.export.glb_reader import GlbMesh, read

_MATERIAL = """newmtl albedo
Ka 0 0 0
Kd 1 1 1
Ks 0 0 0
illum 1
map_Kd texture.png
"""


def to_obj(glb: bytes) -> dict[str, bytes]:
    """Contents of the files `mesh.obj` and, for a textured mesh, `mesh.mtl` and `texture.png`.

    Raises ValueError where the bytes are no GLB of ours.
    """
    mesh = read(glb)
    lines = [f"# {_comment(mesh)}"]
    if mesh.picture is None or mesh.uv is None:
        assert mesh.colours is not None
        rows = np.hstack([mesh.positions, mesh.colours])
        lines += ["v " + " ".join(f"{number:.7g}" for number in row) for row in rows.tolist()]
        lines += [f"f {a} {b} {c}" for a, b, c in (mesh.faces + 1).tolist()]
        return {"mesh.obj": _text(lines)}
    lines += ["mtllib mesh.mtl", "usemtl albedo"]
    lines += [f"v {x:.7g} {y:.7g} {z:.7g}" for x, y, z in mesh.positions.tolist()]
    # An OBJ file counts v from the picture's lower edge.
    lines += [f"vt {u:.7g} {1.0 - v:.7g}" for u, v in mesh.uv.tolist()]
    lines += [f"f {a}/{a} {b}/{b} {c}/{c}" for a, b, c in (mesh.faces + 1).tolist()]
    picture = images.png(Image.fromarray(mesh.picture))
    return {
        "mesh.obj": _text(lines),
        "mesh.mtl": _MATERIAL.encode(),
        "texture.png": picture,
    }


def to_ply(glb: bytes) -> bytes:
    """Binary PLY. Raises ValueError where the bytes are no GLB of ours."""
    mesh = read(glb)
    colours = mesh.colours if mesh.colours is not None else _from_texture(mesh)
    gltf, first, whole = np.unique(mesh.positions, axis=0, return_index=True, return_inverse=True)
    vertices = np.empty(len(gltf), dtype=[("place", "<f4", 3), ("colour", "u1", 3)])
    vertices["place"] = to_world(gltf)
    vertices["colour"] = np.rint(colours[first] * 255.0)
    faces = np.empty(len(mesh.faces), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    faces["count"] = 3
    faces["corners"] = whole.reshape(-1)[mesh.faces]
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment {_comment(mesh)}",
        f"element vertex {len(vertices)}",
        *(f"property float {axis}" for axis in "xyz"),
        *(f"property uchar {colour}" for colour in ("red", "green", "blue")),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header",
    ]
    return _text(header) + vertices.tobytes() + faces.tobytes()


def to_world(x: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 3"]:
    """glTF (x, y, z) -> world (z, x, y): the inverse of `engine.export.glb.to_gltf`."""
    return x[:, [2, 0, 1]]


def sampled(
    picture: UInt8[np.ndarray, "h w 3"], uv: Float[np.ndarray, "W 2"]
) -> Float[np.ndarray, "W 3"]:
    """Colours in [0, 1] at texture coordinates, interpolated between the four nearest texels."""
    height, width = picture.shape[:2]
    place = np.clip(uv * [width, height] - 0.5, 0.0, [width - 1, height - 1])
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, [width - 1, height - 1])
    across, down = (place - low).T[..., None]
    (x0, y0), (x1, y1) = low.T, high.T
    upper = (1.0 - across) * picture[y0, x0] + across * picture[y0, x1]
    lower = (1.0 - across) * picture[y1, x0] + across * picture[y1, x1]
    return ((1.0 - down) * upper + down * lower) / 255.0


def _from_texture(mesh: GlbMesh) -> Float[np.ndarray, "W 3"]:
    assert mesh.picture is not None
    assert mesh.uv is not None
    return sampled(mesh.picture, mesh.uv)


def _comment(mesh: GlbMesh) -> str:
    # JSON escapes what would end the line.
    return json.dumps({"made by": "dreambatch", **mesh.metadata}, sort_keys=True)


def _text(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()
