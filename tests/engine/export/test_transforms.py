"""A reader that knows the `transforms.json` convention, and nothing else of ours, gets the shape.

The convention (instant-ngp, nerfstudio): `transform_matrix` is OpenGL camera-to-world; the camera
looks along -Z with +Y up; fl_x, fl_y, cx, cy in pixels, with pixel centres at +0.5.
"""

from typing import Any

import numpy as np
import pytest
import trimesh
from scipy.spatial import KDTree

from engine.configs.export import ExportConfig
from engine.export import lattice, mesh, views
from engine.export.asset import View
from engine.export.subject import Subject

from .subjects import Solids, decode, figure

CONFIG = ExportConfig(
    cameras="sphere", num_views=24, view_size=100, grid_size=64, max_faces=5000, smoothing=3
)


def transforms(found: list[View]) -> dict[str, Any]:
    """The views as `transforms.json` has them, the pictures beside it in place of their paths."""
    first = found[0]
    return {
        **{key: getattr(first, key) for key in ("fl_x", "fl_y", "cx", "cy", "w", "h")},
        "integer_depth_scale": first.depth_scale,
        "frames": [
            {
                "transform_matrix": [view.c2w[4 * row : 4 * row + 4] for row in range(4)],
                "depth": decode(view.depth),
            }
            for view in found
        ],
    }


def cloud(said: dict[str, Any]) -> np.ndarray:
    """All pixels with a depth, as points of the world."""
    found = []
    for frame in said["frames"]:
        z = frame["depth"] * said["integer_depth_scale"]
        v, u = np.mgrid[0 : said["h"], 0 : said["w"]] + 0.5
        ones = np.ones_like(z)
        direction = [(u - said["cx"]) / said["fl_x"], -(v - said["cy"]) / said["fl_y"], -ones]
        local = np.stack([*(z * d for d in direction), ones], axis=-1)[z > 0]
        found.append(local @ np.array(frame["transform_matrix"]).T)
    return np.concatenate(found)[:, :3]


def chamfer(points: np.ndarray, surface: trimesh.Trimesh) -> float:
    """Mean distance from the points to the surface plus that from the surface to the points, as a
    part of the longest side of the surface's box."""
    dense = trimesh.sample.sample_surface(surface, 60_000, seed=0)[0]
    forth = KDTree(dense).query(points)[0].mean()
    back = KDTree(points).query(dense[::10])[0].mean()
    return float((forth + back) / surface.extents.max())


def meshed(scene: Subject, config: ExportConfig) -> trimesh.Trimesh:
    """The mesh that an asset of the scene has."""
    surface = mesh.build(scene, lattice.sample(scene, config.grid_size), config)
    assert surface is not None
    return trimesh.Trimesh(surface.vertices, surface.faces, process=False)


def _hard() -> Solids:
    """So dense that half of the light is gone .0024 below the surface."""
    scene = figure()
    scene.peak = 5000.0
    return scene


@pytest.fixture(scope="module")
def surface() -> trimesh.Trimesh:
    return meshed(_hard(), CONFIG)


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    return transforms(views.render_views(_hard(), CONFIG))


def test_depths_of_all_views_together_are_the_mesh(said: dict[str, Any], surface: trimesh.Trimesh):
    points = cloud(said)
    assert len(points) > 30_000
    assert chamfer(points, surface) < 0.01


@pytest.mark.parametrize("fault", ["mirrored", "flipped", "shifted", "scaled"])
def test_a_wrong_convention_would_be_seen(
    said: dict[str, Any], surface: trimesh.Trimesh, fault: str
):
    frames = [
        {**frame, "transform_matrix": np.array(frame["transform_matrix"])}
        for frame in said["frames"]
    ]
    wrong = {**said, "frames": frames}
    if fault == "shifted":
        wrong["cx"] += 4.0
    if fault == "scaled":
        wrong["integer_depth_scale"] *= 1.05
    for frame in frames:
        if fault == "mirrored":
            frame["transform_matrix"][:, 0] *= -1.0
        if fault == "flipped":
            frame["transform_matrix"][:, 1:3] *= -1.0
    assert chamfer(cloud(wrong)[::20], surface) > 0.02
