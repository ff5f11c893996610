"""A reader of `transforms.json` that knows the convention and nothing of this project.

OpenGL camera-to-world matrices (X right, Y up, -Z forward), pixel centres at +0.5, depth along the
viewing axis in a 16-bit picture times `integer_depth_scale`, 0 for nothing; glTF has +Y up, so that
its point (x, y, z) lies at (z, x, y) in a world with +Z up whose front +X is glTF's front +Z.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from PIL import Image
from scipy.spatial import KDTree


def cloud(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """World points of all pixels of all frames that have a depth, and their RGB in 0 to 255."""
    document = json.loads((folder / "transforms.json").read_text())
    parts = [_frame(folder, document | frame) for frame in document["frames"]]
    points, colours = zip(*parts, strict=True)
    return np.concatenate(points), np.concatenate(colours)


def mesh(folder: Path) -> trimesh.Trimesh:
    """The mesh in the world of the cameras."""
    found = trimesh.load_mesh(folder / "mesh.glb", process=False)
    return trimesh.Trimesh(found.vertices[:, [2, 0, 1]], found.faces, process=False)


def to_surface(points: np.ndarray, surface: trimesh.Trimesh) -> np.ndarray:
    """Distance of points to a mesh: to the triangle under the nearest of many points on it, so a
    little more than the true one at most."""
    samples, faces = trimesh.sample.sample_surface_even(surface, 60_000, seed=0)
    _, nearest = KDTree(samples).query(points)
    feet = trimesh.triangles.closest_point(surface.triangles[faces[nearest]], points)
    return np.linalg.norm(points - feet, axis=-1)


def to_points(surface: trimesh.Trimesh, points: np.ndarray) -> np.ndarray:
    """Distance of points spread over a mesh to the nearest of a cloud."""
    samples, _ = trimesh.sample.sample_surface_even(surface, 20_000, seed=1)
    return KDTree(points).query(samples)[0]


def _frame(folder: Path, frame: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    with Image.open(folder / frame["depth_file_path"]) as picture:
        depth = np.asarray(picture).astype(np.float64) * frame["integer_depth_scale"]
    with Image.open(folder / frame["file_path"]) as picture:
        colours = np.asarray(picture.convert("RGB"))
    assert depth.shape == colours.shape[:2] == (frame["h"], frame["w"])
    row, column = np.nonzero(depth)
    z = depth[row, column]
    right = (column + 0.5 - frame["cx"]) / frame["fl_x"] * z
    up = (frame["cy"] - row - 0.5) / frame["fl_y"] * z
    camera_to_world = np.array(frame["transform_matrix"])
    local = np.stack([right, up, -z, np.ones_like(z)], axis=-1)
    return (local @ camera_to_world.T)[:, :3], colours[row, column]
