import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.configs.export import ExportConfig
from engine.export import lattice, march, occupancy, solid, views
from engine.export.asset import View

from .subjects import (
    BLUE,
    GREEN,
    RAMP,
    RED,
    Ball,
    Solids,
    ball,
    decode,
    figure,
    nothing,
    project,
    unproject,
    z_depth,
)

CONFIG = ExportConfig(view_size=64, grid_size=64)
NAMES = ["front", "45", "left", "135", "back", "225", "right", "315"]


@pytest.fixture(scope="module")
def figure_views() -> list[View]:
    return views.render_views(figure(), CONFIG)


def _is_near(picture: np.ndarray, colour: tuple[float, float, float]) -> np.ndarray:
    """Opaque pixels of a colour."""
    off = np.abs(picture[..., :3] / 255.0 - np.array(colour)).max(axis=-1)
    return (off < 0.1) & (picture[..., 3] > 200)


def test_ring_starts_at_the_front_and_holds_the_four_sides(figure_views: list[View]):
    assert [view.azimuth_deg for view in figure_views] == [45.0 * k for k in range(8)]
    assert len({view.name for view in figure_views}) == 8
    for view in figure_views:
        assert (view.w, view.h, view.cx, view.cy) == (64, 64, 32.0, 32.0)
        c2w = np.array(view.c2w).reshape(4, 4)
        np.testing.assert_allclose(c2w[:3, :3] @ c2w[:3, :3].T, np.eye(3), atol=1e-12)
        azimuth, elevation = np.deg2rad(view.azimuth_deg), np.deg2rad(20.0)
        position = 2.4 * np.array(
            [
                np.cos(elevation) * np.cos(azimuth),
                np.cos(elevation) * np.sin(azimuth),
                np.sin(elevation),
            ]
        )
        np.testing.assert_allclose(c2w[:3, 3], position, atol=1e-12)
        # Looks at the origin along -Z, with the world's up to the picture's top.
        np.testing.assert_allclose(c2w[:3, 2], position / 2.4, atol=1e-12)
        assert c2w[2, 1] > 0.9
        assert view.fl_x == view.fl_y == pytest.approx(32.0 / np.tan(np.deg2rad(22.5)))


def test_front_shows_the_nose_and_the_hat_is_on_top(figure_views: list[View]):
    num_red = [int(_is_near(decode(v.image), RED).sum()) for v in figure_views]
    assert num_red[NAMES.index("front")] == max(num_red) > 20
    assert num_red[NAMES.index("back")] == 0
    for view in figure_views:
        picture = decode(view.image)
        rows = np.nonzero(picture[..., 3] > 128)[0]
        hat = np.nonzero(_is_near(picture, BLUE))[0]
        assert hat.mean() < rows.mean() - 5


def test_green_arm_is_to_the_right_in_front_and_to_the_left_behind(figure_views: list[View]):
    """+Y is on the right for the camera at +X, which has +Z up."""
    for name, side in (("front", 1), ("back", -1)):
        picture = decode(figure_views[NAMES.index(name)].image)
        columns = np.nonzero(_is_near(picture, GREEN))[1]
        assert len(columns) > 10
        assert side * (columns.mean() - 31.5) > 10


def test_depths_of_all_views_lie_on_the_surface(figure_views: list[View]):
    """Density 500 d / RAMP is the mesh's .0004 below it; half the light is gone at .007."""
    half_light = math.sqrt(2.0 * math.log(2.0) * RAMP / 500.0)
    level_depth = CONFIG.density_level / 500.0 * RAMP
    assert level_depth < 0.1 * half_light
    for view in figure_views:
        depth = figure().depth(torch.from_numpy(unproject(view)))
        assert len(depth) > 300
        assert abs(float(depth.mean()) - level_depth) < 2e-4
        assert float(depth.min()) > -0.003
        assert float(depth.max()) < 0.003


def test_a_floater_that_the_mesh_does_not_have_stops_no_depth():
    """Faint, so that most of the light passes, and denser than the mesh's surface."""

    class Haze(Solids):
        def density(self, x: torch.Tensor) -> torch.Tensor:
            is_haze = (x - torch.tensor([0.7, 0.0, 0.2])).norm(dim=-1) < 0.06
            return torch.where(is_haze, 2.0, super().density(x))

    config = replace(CONFIG, density_level=1.0)
    plain, hazy = (
        views.render_views(kind(parts=(Ball(radius=0.35),)), config) for kind in (Solids, Haze)
    )
    num_seen = 0
    for view, without in zip(hazy, plain, strict=True):
        alpha, expected = decode(view.image)[..., 3], decode(without.depth).astype(int)
        num_seen += int(((expected == 0) & (alpha > 10) & (alpha < 128)).sum())
        assert np.abs(decode(view.depth).astype(int) - expected)[alpha > 250].max() < 200
    assert num_seen > 50


def test_depths_of_different_views_agree_with_each_other(figure_views: list[View]):
    """No point of a view floats in front of what another sees; those in sight of both agree."""
    num_agreeing = 0
    for first in figure_views:
        points = unproject(first)
        for second in figure_views:
            column, row, z = project(second, points)
            inside = (column > 1) & (column < 63) & (row > 1) & (row < 63)
            row, column = row[inside].astype(int), column[inside].astype(int)
            # Least depth of the pixel and its neighbours: the silhouette may fall between pixels.
            seen = np.where(z_depth(second) == 0, np.inf, z_depth(second))
            least = np.min([np.roll(seen, s, (0, 1)) for s in np.ndindex(3, 3)], axis=0)
            least = np.roll(least, (-1, -1), (0, 1))
            behind = z[inside] - least[row, column]
            assert behind.min() > -0.02
            if first is not second:
                num_agreeing += int((np.abs(z[inside] - seen[row, column]) < 0.02).sum())
    assert num_agreeing > 3000


def test_depth_is_there_exactly_where_alpha_is_half(figure_views: list[View]):
    for view in figure_views:
        alpha = decode(view.image)[..., 3]
        assert ((alpha >= 128) == (decode(view.depth) > 0)).all()
        assert ((alpha > 0) & (alpha < 255)).any()


@pytest.mark.parametrize(("radius", "scale"), [(2.4, 1e-4), (4.7, 1e-4), (5.0, 1e-3)])
def test_depth_scale_holds_the_far_corner_of_the_cube(radius: float, scale: float):
    config = ExportConfig(view_size=8, grid_size=16, num_views=4, view_radius=radius)
    for view in views.render_views(ball(), config):
        assert view.depth_scale == pytest.approx(scale)
        assert view.depth_scale * 65535 > radius + math.sqrt(3.0)


def test_normals_are_those_of_the_surface_and_face_the_camera():
    scene = ball()
    for view in views.render_views(scene, CONFIG):
        has_depth = decode(view.depth) > 0
        normal = decode(view.normal)[has_depth] / 127.5 - 1.0
        points = unproject(view)
        expected = points - np.array(scene.parts[0].centre)
        expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
        cosine = (normal * expected).sum(axis=-1)
        assert cosine.mean() > 0.995
        assert np.quantile(cosine, 0.01) > 0.96
        to_camera = np.array(view.c2w).reshape(4, 4)[:3, 3] - points
        assert ((normal * to_camera).sum(axis=-1) > -0.1).all()
        nothing_seen = decode(view.image)[..., 3] == 0
        assert nothing_seen.any()
        assert (decode(view.normal)[nothing_seen] == 128).all()


def test_a_given_lattice_occupancy_and_solid_change_nothing_and_are_used():
    scene = figure()
    samples = lattice.sample(scene, CONFIG.grid_size)
    scene.num_densities = 0
    given = views.render_views(scene, CONFIG, samples=samples)
    num_given, scene.num_densities = scene.num_densities, 0
    assert given == views.render_views(scene, CONFIG)
    assert scene.num_densities == num_given + CONFIG.grid_size**3
    found = solid.find(samples.density.numpy(), CONFIG.density_level)
    assert given == views.render_views(scene, CONFIG, samples=samples, found=found)
    assert found is not None
    elsewhere = replace(found, inside=np.zeros_like(found.inside))
    assert given != views.render_views(scene, CONFIG, samples=samples, found=elsewhere)
    cells = occupancy.occupied(samples)
    assert given == views.render_views(scene, CONFIG, samples=samples, occupancy=cells)
    none = replace(cells, cells=torch.zeros_like(cells.cells))
    assert given != views.render_views(scene, CONFIG, samples=samples, occupancy=none)


def _positions(found: list[View]) -> np.ndarray:
    return np.stack([np.array(view.c2w).reshape(4, 4)[:3, 3] for view in found])


@pytest.mark.parametrize("num", [24, 101, 150])
def test_cameras_on_the_sphere_are_even_and_look_at_the_origin(num: int):
    """Each camera's nearest neighbour is about as far as in a honeycomb of equal areas."""
    config = ExportConfig(cameras="sphere", num_views=num, view_size=8, grid_size=8)
    found = views.render_views(nothing(), config)
    assert len(found) == len({view.name for view in found}) == num
    assert [view.name for view in found] == sorted(view.name for view in found)
    unit = _positions(found) / 2.4
    np.testing.assert_allclose(np.linalg.norm(unit, axis=-1), 1.0, atol=1e-12)
    away = np.linalg.norm(unit[:, None] - unit[None], axis=-1) + 9.0 * np.eye(num)
    honeycomb = math.sqrt(8.0 * math.pi / (math.sqrt(3.0) * num))
    assert away.min() > 0.75 * honeycomb
    assert away.min(axis=0).max() < 1.1 * honeycomb
    assert np.abs(unit.mean(axis=0)).max() < 0.02
    for view, place in zip(found, unit, strict=True):
        c2w = np.array(view.c2w).reshape(4, 4)
        np.testing.assert_allclose(c2w[:3, 2], place, atol=1e-12)
        np.testing.assert_allclose(c2w[:3, :3] @ c2w[:3, :3].T, np.eye(3), atol=1e-12)
        azimuth, elevation = np.deg2rad(view.azimuth_deg), np.deg2rad(view.elevation_deg)
        expected = [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation)]
        np.testing.assert_allclose(place, [*expected, np.sin(elevation)], atol=1e-12)
        assert 0.0 <= view.azimuth_deg < 360.0


def test_a_part_of_the_cameras_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    config = ExportConfig(cameras="sphere", num_views=5, view_size=16, grid_size=32)
    whole = views.render_views(figure(), config)
    monkeypatch.setattr(views, "_PIXELS_AT_ONCE", 2 * 16 * 16)
    calls: list[int] = []

    def counting(scene, occupancy, cameras, num_samples, *, surface):
        calls.append(len(cameras.focal))
        return march.render(scene, occupancy, cameras, num_samples, surface=surface)

    monkeypatch.setattr(views, "render", counting)
    assert views.render_views(figure(), config) == whole
    assert calls == [2, 2, 1]


def test_an_empty_scene_has_transparent_views():
    for view in views.render_views(nothing(), ExportConfig(view_size=8, grid_size=8)):
        assert not decode(view.image).any()
        assert not decode(view.depth).any()


def test_what_is_beyond_the_ball_is_not_shown():
    """A scene full of density is the ball itself: its depths lie on the unit sphere."""
    scene = Solids(parts=(Ball(radius=3.0),))
    for view in views.render_views(scene, ExportConfig(view_size=32, num_views=4)):
        radius = np.linalg.norm(unproject(view), axis=-1)
        assert len(radius) > 300
        assert np.abs(radius - 1.0).max() < 0.02
