"""An independent eye: reads a GLB by trimesh and draws it by the plainest z-buffer.

Knows of ours only what the dataset promises: a view's camera, and that world (x, y, z) is glTF's
(z, x, y) turned.
"""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import trimesh

from engine.export.asset import View

from .subjects import decode, project


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What a view's camera sees of a mesh; colours are NaN where it sees nothing."""

    colour: np.ndarray
    """Of each pixel (h w 3), display-referred."""
    depth: np.ndarray
    """z-depth (h w), infinite where nothing is."""

    @property
    def covers(self) -> np.ndarray:
        return np.isfinite(self.depth)


def load(data: bytes) -> trimesh.Trimesh:
    """The only mesh of a GLB, as it is in the file."""
    scene = trimesh.load(io.BytesIO(data), file_type="glb", process=False)
    assert isinstance(scene, trimesh.Scene)
    (loaded,) = scene.geometry.values()
    assert isinstance(loaded, trimesh.Trimesh)
    return loaded


def draw(view: View, mesh: trimesh.Trimesh) -> Drawn:
    """The mesh from a view's camera; faces seen from behind are left out."""
    gltf, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    column, row, z = project(view, np.stack([gltf[:, 2], gltf[:, 0], gltf[:, 1]], axis=-1))
    depth = np.full((view.h, view.w), np.inf)
    face_of = np.full((view.h, view.w), -1)
    shares = np.zeros((view.h, view.w, 3))
    for number, face in enumerate(faces):
        x, y = column[face], row[face]
        area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
        if area >= 0:
            continue  # counter-clockwise is clockwise where rows count down
        x0, y0 = max(int(np.ceil(x.min() - 0.5)), 0), max(int(np.ceil(y.min() - 0.5)), 0)
        x1, y1 = int(np.floor(x.max() - 0.5)), int(np.floor(y.max() - 0.5))
        v, u = np.mgrid[y0 : y1 + 1, x0 : x1 + 1] + 0.5
        b = ((u - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (v - y[0])) / area
        c = ((x[1] - x[0]) * (v - y[0]) - (u - x[0]) * (y[1] - y[0])) / area
        share = np.stack([1 - b - c, b, c], axis=-1)
        there = depth[y0 : y1 + 1, x0 : x1 + 1]
        share = share[: there.shape[0], : there.shape[1]]
        away = share @ z[face]
        wins = (share.min(axis=-1) >= 0) & (away < there)
        there[wins] = away[wins]
        face_of[y0 : y1 + 1, x0 : x1 + 1][wins] = number
        shares[y0 : y1 + 1, x0 : x1 + 1][wins] = share[wins]
    colour = np.full((view.h, view.w, 3), np.nan)
    seen = face_of >= 0
    corners = faces[face_of[seen]]
    colour[seen] = _colours(mesh, corners, shares[seen])
    return Drawn(colour=colour, depth=depth)


def _colours(mesh: trimesh.Trimesh, corners: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Of points on faces: from the texture by the nearest texel, or from the vertices."""
    visual: Any = mesh.visual
    if visual.uv is not None:
        picture = np.asarray(visual.material.baseColorTexture.convert("RGB"))
        uv = np.einsum("pc,pcx->px", shares, np.asarray(visual.uv)[corners])
        height, width = picture.shape[:2]
        # trimesh counts v from the lower edge.
        i = ((1.0 - uv[:, 1]) * height).astype(int).clip(0, height - 1)
        j = (uv[:, 0] * width).astype(int).clip(0, width - 1)
        return picture[i, j] / 255.0
    linear = np.asarray(visual.vertex_attributes["color"])[:, :3] / 65535.0
    tones = np.einsum("pc,pcx->px", shares, linear[corners])
    return np.where(tones <= 0.0031308, 12.92 * tones, 1.055 * tones ** (1 / 2.4) - 0.055)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How well a drawing agrees with the view."""

    iou: float
    """Intersection over union of the silhouettes, at an opacity of one half."""
    colour_error: float
    """Mean absolute difference of colours, in [0, 1], where both are opaque."""
    depth_error: float
    """Median absolute difference of z-depths, in scene units."""


def agreement(view: View, drawn: Drawn) -> Agreement:
    """Of one view."""
    image = decode(view.image)
    seen = image[..., 3] >= 128
    both = drawn.covers & (image[..., 3] >= 250)
    z = decode(view.depth) * view.depth_scale
    return Agreement(
        iou=float((drawn.covers & seen).sum() / (drawn.covers | seen).sum()),
        colour_error=float(np.abs(drawn.colour[both] - image[both][:, :3] / 255.0).mean()),
        depth_error=float(np.median(np.abs(drawn.depth[both] - z[both]))),
    )
