"""Smoothing that keeps the volume.

G. Taubin, "A signal processing approach to fair surface design", SIGGRAPH 1995, sections 3 and 4.

A step moves every vertex x by a part f of the way to the mean of its neighbours, f L x with
L = D^-1 A - 1. One round is a step with f = lambda > 0, which shrinks, and one with f = mu below
-lambda, which swells: a wave of frequency k (an eigenvalue of -L, 0 to 2) is multiplied by
(1 - lambda k) (1 - mu k), which is about 1 below k = 1 / lambda + 1 / mu and small above.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array

LAMBDA, MU = 0.5, -0.526
"""Pass band up to k = 0.1, the paper's."""


def smoothed(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], rounds: int
) -> Float[np.ndarray, "V 3"]:
    """The vertices after some rounds. The mesh is closed: each edge belongs to two faces."""
    if rounds == 0:
        return vertices
    # A closed mesh passes each edge once in either direction, so each neighbour counts once.
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    neighbours = csr_array((np.ones(len(start)), (start, end)), shape=(len(vertices),) * 2)
    valence = np.bincount(start, minlength=len(vertices))[:, None]
    for _ in range(rounds):
        for factor in (LAMBDA, MU):
            vertices = vertices + factor * (neighbours @ vertices / valence - vertices)
    return vertices
