import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine import cameras
from engine.cameras import Cameras

azimuths = st.floats(-720.0, 720.0)
elevations = st.floats(-89.0, 89.0)
radii = st.floats(0.5, 5.0)
fovs = st.floats(5.0, 120.0)


def orbit(azimuth: float, elevation: float, radius: float, fov: float, size: int) -> Cameras:
    a, e, r, f = torch.tensor([azimuth, elevation, radius, fov], dtype=torch.float64)
    return cameras.orbit(a, e, r, f, size)


def project(camera: Cameras, x: np.ndarray) -> tuple[float, float, float]:
    """Column, row and z-depth of a world point, by the pinhole formula."""
    c2w = camera.c2w.double().numpy()
    local = np.linalg.inv(c2w) @ np.append(x, 1.0)
    depth = -local[2]
    focal, centre = float(camera.focal), camera.size / 2
    return centre + focal * local[0] / depth, centre - focal * local[1] / depth, depth


@given(azimuths, elevations, radii, fovs)
def test_pose_is_a_right_handed_rigid_motion(
    azimuth: float, elevation: float, radius: float, fov: float
) -> None:
    c2w = orbit(azimuth, elevation, radius, fov, 8).c2w.numpy()
    rotation = c2w[:3, :3]
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0)
    np.testing.assert_array_equal(c2w[3], [0, 0, 0, 1])
    np.testing.assert_allclose(np.linalg.norm(c2w[:3, 3]), radius)


@given(azimuths, elevations, radii, fovs, st.integers(1, 9))
def test_the_origin_lies_in_the_middle_of_an_orbit_picture(
    azimuth: float, elevation: float, radius: float, fov: float, size: int
) -> None:
    column, row, depth = project(orbit(azimuth, elevation, radius, fov, size), np.zeros(3))
    np.testing.assert_allclose([column, row, depth], [size / 2, size / 2, radius], atol=1e-9)


@given(azimuths, elevations)
def test_a_point_above_the_origin_is_in_the_upper_half_and_not_tilted(
    azimuth: float, elevation: float
) -> None:
    column, row, _ = project(orbit(azimuth, elevation, 3.0, 50.0, 10), np.array([0, 0, 0.5]))
    assert row < 5
    assert column == pytest.approx(5)


@pytest.mark.parametrize(
    ("azimuth", "position", "to_the_right"),
    [
        (0.0, (2, 0, 0), (0, 1, 0)),
        (90.0, (0, 2, 0), (-1, 0, 0)),
        (180.0, (-2, 0, 0), (0, -1, 0)),
        (270.0, (0, -2, 0), (1, 0, 0)),
    ],
)
def test_azimuth_runs_counter_clockwise_from_the_front(
    azimuth: float, position: tuple[int, ...], to_the_right: tuple[int, ...]
) -> None:
    camera = orbit(azimuth, 0.0, 2.0, 50.0, 10)
    np.testing.assert_allclose(camera.c2w[:3, 3].numpy(), position, atol=1e-12)
    np.testing.assert_allclose(camera.c2w[:3, 0].numpy(), to_the_right, atol=1e-12)
    np.testing.assert_allclose(camera.c2w[:3, 1].numpy(), (0, 0, 1), atol=1e-12)
    np.testing.assert_allclose(camera.c2w[:3, 2].numpy(), np.array(position) / 2, atol=1e-12)


def test_a_positive_elevation_looks_down() -> None:
    camera = orbit(0.0, 30.0, 2.0, 50.0, 10)
    assert float(camera.c2w[2, 3]) == pytest.approx(1.0)
    assert float(-camera.c2w[2, 2]) == pytest.approx(-0.5)


def test_looking_straight_down_is_the_limit_of_the_front_camera() -> None:
    pole, near = orbit(0.0, 90.0, 2.0, 50.0, 10), orbit(0.0, 89.99, 2.0, 50.0, 10)
    np.testing.assert_allclose(pole.c2w.numpy(), near.c2w.numpy(), atol=1e-3)
    assert float(near.c2w[:3, 0].norm()) == pytest.approx(1.0)


@given(azimuths, st.sampled_from([-90.0, 90.0]))
def test_the_poles_are_finite_in_single_precision(azimuth: float, elevation: float) -> None:
    a, e, r, f = torch.tensor([azimuth, elevation, 2.0, 50.0])
    camera = cameras.orbit(a, e, r, f, 4)
    rotation = camera.c2w[:3, :3]
    torch.testing.assert_close(rotation.T @ rotation, torch.eye(3), atol=1e-5, rtol=0)
    assert cameras.rays(camera)[1].isfinite().all()


def test_look_at_takes_a_position_a_target_and_a_tilted_up() -> None:
    position, target = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, -1.0, 0.0])
    up = torch.tensor([0.3, 0.2, 1.0])
    c2w = cameras.look_at(position, target, up).double().numpy()
    forward = (target - position).double().numpy()
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, up.double().numpy())
    right /= np.linalg.norm(right)
    np.testing.assert_allclose(c2w[:3, 2], -forward, atol=1e-6)
    np.testing.assert_allclose(c2w[:3, 0], right, atol=1e-6)
    np.testing.assert_allclose(c2w[:3, 1], np.cross(right, forward), atol=1e-6)
    np.testing.assert_allclose(c2w[:3, 3], position.numpy())


def batch(shape: tuple[int, ...], size: int) -> Cameras:
    """Random cameras off the origin."""
    angles = torch.rand(4, *shape, dtype=torch.float64)
    orbiting = cameras.orbit(
        angles[0] * 360, angles[1] * 120 - 60, 1 + angles[2], 30 + 40 * angles[3], size
    )
    c2w = orbiting.c2w.clone()
    c2w[..., :3, 3] += 0.3
    return Cameras(c2w=c2w, focal=orbiting.focal, size=size)


def naive_ray(c2w: Tensor, focal: float, size: int, row: int, column: int) -> np.ndarray:
    """Unit direction through one pixel centre."""
    local = [(column + 0.5 - size / 2) / focal, -(row + 0.5 - size / 2) / focal, -1.0]
    world = [sum(float(c2w[i, j]) * local[j] for j in range(3)) for i in range(3)]
    return np.array(world) / math.sqrt(sum(v * v for v in world))


@pytest.mark.parametrize(("shape", "size"), [((), 1), ((3,), 4), ((2, 3), 5)])
def test_rays_match_a_loop_over_pixels(shape: tuple[int, ...], size: int) -> None:
    several = batch(shape, size)
    origins, directions = cameras.rays(several)
    assert origins.shape == directions.shape == (*shape, size, size, 3)
    for index in np.ndindex(shape):
        for row in range(size):
            for column in range(size):
                expected = naive_ray(
                    several.c2w[index], float(several.focal[index]), size, row, column
                )
                actual = directions[index][row, column].numpy()
                np.testing.assert_allclose(actual, expected, atol=1e-12)
                torch.testing.assert_close(
                    origins[index][row, column], several.c2w[index][:3, 3], rtol=0, atol=0
                )


@pytest.mark.parametrize("size", [1, 6, 7])
def test_z_scale_is_the_cosine_to_the_viewing_axis(size: int) -> None:
    several = batch((3,), size)
    _, directions = cameras.rays(several)
    forward = -several.c2w[:, :3, 2]
    cosine = torch.einsum("bhwi,bi->bhw", directions, forward)
    torch.testing.assert_close(cameras.z_scale(several), cosine)


def test_a_pixel_and_its_z_depth_unproject_and_project_back() -> None:
    size = 7
    several = batch((4,), size)
    origins, directions = cameras.rays(several)
    z_depth = 0.5 + 3 * torch.rand(4, size, size, dtype=torch.float64)
    x = origins + directions * (z_depth / cameras.z_scale(several))[..., None]
    for b, row, column in np.ndindex(4, size, size):
        one = Cameras(c2w=several.c2w[b], focal=several.focal[b], size=size)
        expected = (column + 0.5, row + 0.5, float(z_depth[b, row, column]))
        np.testing.assert_allclose(project(one, x[b, row, column].numpy()), expected)


@given(fovs, st.integers(1, 512))
def test_the_picture_s_edge_is_half_the_field_of_view_away(fov: float, size: int) -> None:
    focal = cameras.focal_of(torch.tensor(fov, dtype=torch.float64), size)
    edge = math.degrees(math.atan2(size / 2, float(focal)))
    assert edge == pytest.approx(fov / 2)


def test_resizing_keeps_the_field_of_view() -> None:
    small = batch((2,), 4)
    large = small.resized(12)
    assert large.size == 12
    # The middle pixel of each 3x3 block looks where the small picture's pixel looked.
    expected, actual = cameras.rays(small)[1], cameras.rays(large)[1][:, 1::3, 1::3]
    torch.testing.assert_close(actual, expected)
