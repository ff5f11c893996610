"""A mesh cut into charts, and the picture that is laid on it.

Texture coordinates are glTF's: (0, 0) is the top left corner of the picture, v grows downwards. The
picture is display-referred (sRGB) albedo as the views show it (`engine.export.skin`). Texels that
no triangle covers take the colour of the nearest one that is covered, so that neither interpolation
nor a small mipmap mixes in a colour from outside.
Axes: V vertices of the mesh, W vertices after cutting, F faces, T texels, K shells.
"""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from engine.export import elsewhere, pieces, skin
from engine.export.mesh import Mesh, vertex_normals
from engine.export.raster import Coverage, coverage
from engine.export.subject import Subject, albedo_at

_TEXELS_AT_ONCE = 2**16


@dataclass(frozen=True, kw_only=True)
class Texture:
    """How a mesh is cut, and its picture."""

    vertex: Int[np.ndarray, "W"]
    """The vertex of the mesh that each stands for."""
    faces: Int[np.ndarray, "F 3"]
    """The mesh's faces, in terms of W."""
    uv: Float[np.ndarray, "W 2"]
    picture: UInt8[np.ndarray, "h w 3"]


@torch.no_grad()
def bake(scene: Subject, mesh: Mesh, spacing: float, size: int) -> Texture:
    """Cuts the mesh and paints a picture of size x size texels; `spacing` is a lattice cell's side.

    The charts are laid out by `engine.export.mesh_tools.unwrap`; what the atlas lacks to a square
    is stretched.
    """
    vertex, faces, uv, _ = elsewhere.call("unwrap", [mesh.vertices, mesh.faces], size=size)
    vertex, faces = vertex.astype(np.int64), faces.astype(np.int64)
    normals = vertex_normals(mesh.vertices, mesh.faces)
    shells = skin.shells(scene, mesh.vertices, normals, spacing)
    corners = torch.from_numpy(uv[faces]).to(scene.device)
    found = coverage(corners, size, size)
    places = shells[torch.from_numpy(mesh.faces).to(scene.device)]
    colours = torch.zeros(size, size, 3, device=scene.device)
    colours[found.row, found.column] = _colours(scene, found, places)
    is_known = torch.zeros(size, size, dtype=torch.bool)
    is_known[found.row.cpu(), found.column.cpu()] = True
    picture = (colours * 255.0).round().to(torch.uint8).cpu().numpy()
    return Texture(
        vertex=vertex, faces=faces, uv=uv.astype(np.float64), picture=_filled(picture, is_known)
    )


def _colours(
    scene: Subject, found: Coverage, places: Float[Tensor, "F 3 K 3"]
) -> Float[Tensor, "T 3"]:
    """Mean albedo at each texel's places on the shells."""
    parts: list[Tensor] = [torch.zeros(0, 3, device=scene.device)]
    number = pieces.size(_TEXELS_AT_ONCE, scene.device)
    for some in torch.arange(len(found.face), device=scene.device).split(number):
        x = torch.einsum("tc,tckx->tkx", found.share[some], places[found.face[some]])
        parts.append(albedo_at(scene, x).mean(dim=1))
    return torch.cat(parts)


def _filled(picture: UInt8[np.ndarray, "h w 3"], is_known: Tensor) -> UInt8[np.ndarray, "h w 3"]:
    """The picture with the nearest known colour everywhere."""
    known = is_known.numpy()
    if not known.any():
        return picture
    nearest = scipy.ndimage.distance_transform_edt(
        ~known, return_distances=False, return_indices=True
    )
    assert isinstance(nearest, np.ndarray)
    return picture[nearest[0], nearest[1]]
