"""What the mesh libraries do for us, as pure functions of arrays.

All three hold Python's lock for as long as they run, for seconds where a mesh is large, so that
`engine.export.elsewhere` calls them in a process of their own. This file loads no torch.
Axes: V vertices, F faces, W vertices after cutting along seams.
"""

import numpy as np

Arrays = tuple[np.ndarray, ...]

_FACES_A_CHART = 400
_CHARTS = (24, 120)
"""No chart gets more than one part in so many of the area. Without a bound xatlas takes 12 s for
50,000 faces, with 120 parts 1.6 s; few parts waste less of a small picture on the gaps between."""
_PADDING = 2
"""Texels between charts."""
_ASKED = 0.75
"""xatlas makes atlases larger than it is told by about this factor."""


def marching_cubes(values: np.ndarray, *, level: float) -> Arrays:
    """Vertices (in units of samples) and faces of the surface where `values` (a b c) cross `level`.

    Faces are counter-clockwise seen from where the values are lower.
    """
    import skimage.measure

    vertices, faces, _, _ = skimage.measure.marching_cubes(
        values, level, gradient_direction="ascent"
    )
    return vertices, faces


def simplify(vertices: np.ndarray, faces: np.ndarray, *, max_faces: int, hurry: int = 7) -> Arrays:
    """Vertices and faces after quadric edge collapse down to `max_faces` triangles.

    The less `hurry`, 1 to 7, the more passes it takes.
    """
    import fast_simplification

    vertices, faces, *_ = fast_simplification.simplify(
        vertices, faces.astype(np.int32), target_count=max_faces, agg=hurry
    )
    return vertices, faces


def unwrap(vertices: np.ndarray, faces: np.ndarray, *, size: int) -> Arrays:
    """Charts of a mesh, packed into the unit square for a picture of about `size` texels a side.

    Returns the vertex that each of W stands for, the faces in terms of W in their old order, the
    texture coordinates (W 2) in [0, 1], and the height and width of the atlas in texels.
    """
    import xatlas

    a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    area = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=-1).sum()
    charts, packing = xatlas.ChartOptions(), xatlas.PackOptions()
    num_parts = min(max(len(faces) // _FACES_A_CHART, _CHARTS[0]), _CHARTS[1])
    charts.max_chart_area = float(area) / num_parts
    packing.resolution, packing.padding = round(_ASKED * size), _PADDING
    atlas = xatlas.Atlas()
    atlas.add_mesh(vertices.astype(np.float32), faces.astype(np.uint32))
    atlas.generate(charts, packing)
    vertex, cut, uv = atlas.get_mesh(0)
    return vertex, cut, uv, np.array([atlas.height, atlas.width])
