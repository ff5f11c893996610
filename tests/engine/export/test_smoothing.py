import numpy as np
import pytest
import trimesh

from engine.export.smoothing import LAMBDA, MU, smoothed


def _noisy(subdivisions: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """A unit ball's vertices, moved in and out by noise, and its faces."""
    ball = trimesh.creation.icosphere(subdivisions)
    noise = np.random.default_rng(0).normal(0.0, 0.02, len(ball.vertices))
    return ball.vertices * (1.0 + noise[:, None]), np.asarray(ball.faces)


def _naive(vertices: np.ndarray, faces: np.ndarray, rounds: int) -> np.ndarray:
    """The same by sets of neighbours and loops."""
    neighbours: list[set[int]] = [set() for _ in vertices]
    for face in faces:
        for corner in face:
            neighbours[corner] |= {int(other) for other in face if other != corner}
    for _ in range(rounds):
        for factor in (LAMBDA, MU):
            mean = [vertices[sorted(around)].mean(axis=0) for around in neighbours]
            vertices = vertices + factor * (np.array(mean) - vertices)
    return vertices


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_it_is_what_a_loop_over_neighbours_gives(rounds: int):
    vertices, faces = _noisy(subdivisions=2)
    found = smoothed(vertices, faces, rounds)
    np.testing.assert_allclose(found, _naive(vertices, faces, rounds), atol=1e-12)


def test_noise_goes_and_the_volume_stays():
    vertices, faces = _noisy()
    found = smoothed(vertices, faces, 3)
    before, after = (np.linalg.norm(x, axis=-1).std() for x in (vertices, found))
    assert after < 0.6 * before
    volumes = [trimesh.Trimesh(x, faces, process=False).volume for x in (vertices, found)]
    assert volumes[1] == pytest.approx(volumes[0], rel=2e-3)
