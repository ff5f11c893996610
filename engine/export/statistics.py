"""Numbers that describe a mesh, in world coordinates."""

import math

from engine.export.asset import MESH_STATISTICS
from engine.export.measures import area, components, is_watertight, volume
from engine.export.mesh import Mesh


def statistics(mesh: Mesh | None) -> dict[str, float | int | bool]:
    """The values named in `MESH_STATISTICS`; an empty mesh has zeros, and NaN for places."""
    if mesh is None:
        return {
            name: math.nan if kind is float else kind(0) for name, kind in MESH_STATISTICS.items()
        } | {
            "mesh_volume": 0.0,
            "mesh_area": 0.0,
        }
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    box = {
        f"bbox_{end}_{axis}": float(corner[k])
        for end, corner in (("min", low), ("max", high))
        for k, axis in enumerate("xyz")
    }
    return {
        "mesh_vertices": len(mesh.vertices),
        "mesh_faces": len(mesh.faces),
        "mesh_components": components(mesh.faces, len(mesh.vertices)),
        "mesh_watertight": is_watertight(mesh.faces),
        "mesh_volume": volume(mesh.vertices, mesh.faces),
        "mesh_area": area(mesh.vertices, mesh.faces),
        "mesh_level": mesh.level,
        **box,
    }
