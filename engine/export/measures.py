"""What triangle meshes are measured by. V vertices, F faces; lengths as the vertices have."""

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def is_watertight(faces: Int[np.ndarray, "F 3"]) -> bool:
    """Whether every edge joins exactly two faces that pass it in opposite directions."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    size = int(faces.max()) + 1
    forth = np.sort(edges[:, 0] * size + edges[:, 1])
    back = np.sort(edges[:, 1] * size + edges[:, 0])
    return bool((np.diff(forth) > 0).all() and (forth == back).all())


def components(faces: Int[np.ndarray, "F 3"], num_vertices: int) -> int:
    """Number of parts that share no vertex."""
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    graph = coo_array(
        (np.ones(len(start), dtype=bool), (start, end)), shape=(num_vertices, num_vertices)
    )
    return int(connected_components(graph, directed=False)[0])


def volume(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> float:
    """Signed volume, sum of a . (b x c) / 6 over the faces; positive when they face outward."""
    a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    return float(np.einsum("fi,fi->", a, np.cross(b, c)) / 6.0)


def area(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> float:
    """Total area of the triangles."""
    a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    return float(0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=-1).sum())
