"""From an optimised scene to an asset: posed views, mesh, turntable, thumbnail, the field itself.

Importing this package is free; torch and the mesh libraries are loaded by the first export.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.configs.export import ExportConfig
from engine.export.asset import MESH_STATISTICS, Asset, View

if TYPE_CHECKING:
    from engine.export.subject import Subject

__all__ = ["MESH_STATISTICS", "Asset", "View", "export_asset"]


def export_asset(scene: "Subject", config: ExportConfig, *, metadata: Mapping[str, str]) -> Asset:
    """Everything that is kept of a scene; the same scene gives the same bytes.

    `metadata` (prompt, seed, model, licence) is written into the GLB's `asset.extras`. Raises
    ValueError if the scene has diverged, so that its density is not finite.
    """
    from engine.export import (
        framing,
        glb,
        lattice,
        mesh,
        occupancy,
        solid,
        statistics,
        texture,
        turntable,
        views,
    )

    samples = lattice.sample(scene, config.grid_size)
    occupied = occupancy.occupied(samples)
    found = solid.find(samples.density.cpu().numpy(), config.density_level)
    config = framing.framed(config, samples, found)
    surface = mesh.build(scene, samples, config, found=found)
    mesh_glb = None
    if surface is not None:
        size = config.texture_size
        paint = texture.bake(scene, surface, samples.spacing, size) if size else None
        mesh_glb = glb.encode(surface, metadata, paint, config.texture_format)
    return Asset(
        views=views.render_views(scene, config, samples=samples, occupancy=occupied, found=found),
        mesh_glb=mesh_glb,
        mesh_status="empty" if surface is None else "ok",
        turntable=turntable.turntable(scene, occupied, config),
        thumb=turntable.thumb(scene, occupied, config),
        field=scene.to_bytes(),
        mesh=statistics.statistics(surface),
    )
