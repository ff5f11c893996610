"""From a lattice of densities to a closed, coloured triangle mesh in world coordinates.

Marching cubes decides how the surface is connected; its vertices, each on a lattice edge between a
sample inside and one outside, are then moved to where the scene's own density crosses the level.
Linear interpolation would not find it: a density runs from 0 to 1000 within a cell. What is left of
the lattice's steps is smoothed, and the mesh is thinned out to a budget of faces. Triangles are
counter-clockwise seen from outside. V vertices, F faces.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.configs.export import ExportConfig
from engine.export import elsewhere, skin, solid
from engine.export.crossing import crossing
from engine.export.lattice import Lattice
from engine.export.measures import is_watertight
from engine.export.smoothing import smoothed
from engine.export.solid import Solid
from engine.export.subject import Subject

_HURRIES = (7, 5, 3)


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """Triangles with a colour at every vertex."""

    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    colours: Float[np.ndarray, "V 3"]
    """Display-referred (sRGB) albedo in [0, 1]."""
    level: float
    """Density of the surface."""


@torch.no_grad()
def build(
    scene: Subject, lattice: Lattice, config: ExportConfig, *, found: Solid | None = None
) -> Mesh | None:
    """The surface where the density crosses the config's level, or None if there is nothing.

    Where nothing lies above that level, a few lower ones are tried (`engine.export.solid`). The
    solid that was `found` in the lattice spares doing so again where it is at hand.
    """
    density = lattice.density.cpu().numpy()
    found = found or solid.find(density, config.density_level)
    if found is None:
        return None
    corners, faces = _marching_cubes(density, found)
    vertices = _refine(scene, lattice, found, corners)
    vertices = smoothed(vertices, faces, config.smoothing)
    vertices, faces = _decimate(vertices, faces, config.max_faces)
    colours = skin.colours(scene, vertices, vertex_normals(vertices, faces), lattice.spacing)
    return Mesh(vertices=vertices, faces=faces, colours=colours, level=found.level)


def vertex_normals(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]
) -> Float[np.ndarray, "V 3"]:
    """Unit outward normals: the sum of the adjacent faces' area vectors, normalised."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = np.repeat(np.cross(b - a, c - a), 3, axis=0)
    corner = faces.ravel()
    total = [np.bincount(corner, area[:, axis], len(vertices)) for axis in range(3)]
    normals = np.stack(total, axis=-1)
    return normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)


def _marching_cubes(
    density: Float[np.ndarray, "n n n"], found: Solid
) -> tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "F 3"]]:
    """Marching cubes around the inside cells; vertices in units of lattice samples.

    Samples are held clear of the level, on the side the solid says, so that no vertex falls on a
    sample; a border of outer ones closes what touches the bound. Inner samples are held further
    from it than outer ones: of a face whose diagonals disagree the inner one then always joins,
    where a tie could be decided one way by one cube and another way by its neighbour.
    """
    level = found.level
    low, high = 0.55 * level, 0.8 * level
    values = np.where(
        found.inside, np.clip(density, 1.5 * level, 2.0 * level), np.clip(density, low, high)
    )
    padded = np.pad(values, 1, constant_values=low)
    vertices, faces = elsewhere.call("marching_cubes", [padded], level=level)
    return vertices.astype(np.float64) - 1.0, faces.astype(np.int64)


def _refine(
    scene: Subject,
    lattice: Lattice,
    found: Solid,
    corners: Float[np.ndarray, "V 3"],
) -> Float[np.ndarray, "V 3"]:
    """Vertices in world coordinates, each bisected along its lattice edge to density = level.

    Marching cubes also sets a few vertices within a cube; those stay.
    """
    low, high = np.floor(corners), np.ceil(corners)
    on_edge = (low != high).sum(axis=-1) == 1
    start = np.pad(found.inside, 1)[tuple((low.astype(int) + 1).T)]
    inner = np.where(start[:, None], low, high)
    outer = np.where(start[:, None], high, low)
    inside, outside = (_world(x[on_edge], lattice, scene) for x in (inner, outer))
    share = crossing(scene, outside, inside, found.level)
    vertices = _world(corners, lattice, scene).cpu().numpy()
    vertices[on_edge] = torch.lerp(outside, inside, share[:, None]).cpu().numpy()
    return vertices


def _world(
    index: Float[np.ndarray, "V 3"], lattice: Lattice, scene: Subject
) -> Float[Tensor, "V 3"]:
    """Lattice coordinates to the world; sample i lies at -bound + (i + .5) h."""
    x = (index + 0.5) * lattice.spacing - lattice.bound
    return torch.from_numpy(x).float().to(scene.device)


def _decimate(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], max_faces: int
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """Quadric edge collapse down to `max_faces` triangles.

    A collapse may pinch the surface, so that four faces meet at an edge. It rarely does, and less
    hurry mends that.
    """
    if len(faces) <= max_faces:
        return vertices, faces
    thinner = vertices, faces
    for hurry in _HURRIES:
        x, f = elsewhere.call("simplify", [vertices, faces], max_faces=max_faces, hurry=hurry)
        thinner = x, f.astype(np.int64)
        if is_watertight(thinner[1]):
            break
    return thinner
