import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.export import raster


def _owners(corners: np.ndarray, height: int, width: int) -> np.ndarray:
    """Number of the last triangle over each texel's centre, by loops in double precision."""
    owner = np.full((height, width), -1)
    for number, triangle in enumerate(corners * [width, height]):
        (ax, ay), (bx, by), (cx, cy) = triangle
        whole = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if whole == 0:
            continue
        for i, j in np.ndindex(height, width):
            x, y = j + 0.5, i + 0.5
            a = ((bx - x) * (cy - y) - (cx - x) * (by - y)) / whole
            b = ((cx - x) * (ay - y) - (ax - x) * (cy - y)) / whole
            if min(a, b, 1.0 - a - b) >= 0:
                owner[i, j] = number
    return owner


def _found(corners: np.ndarray, height: int, width: int) -> tuple[np.ndarray, raster.Coverage]:
    found = raster.coverage(torch.from_numpy(corners).float(), height, width)
    owner = np.full((height, width), -1)
    owner[found.row, found.column] = found.face
    return owner, found


@given(seed=st.integers(0, 10**6), height=st.integers(1, 12), width=st.integers(1, 12))
def test_texels_belong_to_the_triangles_over_their_centres(seed: int, height: int, width: int):
    rng = np.random.default_rng(seed)
    # Beyond the picture, too, and of both orientations.
    corners = rng.uniform(-0.3, 1.3, (6, 3, 2)).astype(np.float32).astype(np.float64)
    owner, found = _found(corners, height, width)
    assert (owner == _owners(corners, height, width)).all()
    place = torch.einsum(
        "tc,tcx->tx", found.share, torch.from_numpy(corners).float()[found.face]
    ).numpy()
    centre = np.stack([(found.column + 0.5) / width, (found.row + 0.5) / height], axis=-1)
    np.testing.assert_allclose(place, centre, atol=1e-3)


def test_a_square_of_two_triangles_has_no_gap_on_the_diagonal():
    corners = np.array([[[0, 0], [1, 0], [1, 1]], [[0, 0], [1, 1], [0, 1]]], dtype=float)
    owner, _ = _found(corners, 64, 64)
    assert (owner >= 0).all()
    # The texels on the common edge are the later one's.
    assert (np.diag(owner) == 1).all()
    assert (owner[np.triu_indices(64, 1)] == 0).all()


def test_groups_change_nothing(monkeypatch: pytest.MonkeyPatch):
    corners = np.random.default_rng(1).uniform(0.0, 1.0, (40, 3, 2))
    whole, _ = _found(corners, 32, 32)
    monkeypatch.setattr(raster, "_CANDIDATES_AT_ONCE", 500)
    boxes = torch.full((40,), 200)
    assert len(raster._groups(boxes)) > 10
    assert (_found(corners, 32, 32)[0] == whole).all()


def test_a_triangle_without_area_covers_nothing():
    corners = np.array([[[0.1, 0.1], [0.9, 0.9], [0.5, 0.5]], [[0.0, 0.0]] * 3])
    owner, found = _found(corners, 16, 16)
    assert (owner == -1).all()
    assert len(found.face) == 0
