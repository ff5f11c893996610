import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from engine.configs.export import ExportConfig
from engine.export import elsewhere, lattice, mesh, mesh_tools, statistics
from engine.export.mesh import Mesh
from engine.export.solid import Solid

from .subjects import BLUE, GREEN, RAMP, RED, WHITE, Ball, Box, Solids, ball, box, figure, nothing

LEVEL_DEPTH = 10.0 / 500.0 * RAMP
"""How far below the surface of these solids the density reaches 10."""


def _build(scene: Solids, **changes: int) -> Mesh | None:
    config = dataclasses.replace(ExportConfig(grid_size=48), **changes)
    return mesh.build(scene, lattice.sample(scene, config.grid_size), config)


def _closed(scene: Solids, **changes: int) -> tuple[Mesh, trimesh.Trimesh]:
    """The mesh, ours and as trimesh understands it, after checks that hold for every mesh."""
    found = _build(scene, **changes)
    assert found is not None
    theirs = trimesh.Trimesh(found.vertices, found.faces, process=False)
    assert theirs.is_watertight
    assert theirs.is_winding_consistent
    assert theirs.volume > 0
    assert np.isfinite(found.vertices).all()
    assert len(np.unique(found.faces)) == len(found.vertices) == len(found.colours)
    assert found.colours.min() >= 0.0
    assert found.colours.max() <= 1.0 + 1e-6
    return found, theirs


def test_ball_has_the_true_volume_area_and_place():
    _, theirs = _closed(ball())
    assert theirs.volume == pytest.approx(4 / 3 * math.pi * 0.5**3, rel=0.01)
    assert theirs.area == pytest.approx(4 * math.pi * 0.5**2, rel=0.01)
    np.testing.assert_allclose(theirs.center_mass, [0.1, -0.05, 0.15], atol=2e-3)


@pytest.mark.parametrize(("smoothing", "slack"), [(0, 2e-3), (3, 4e-3)])
def test_box_has_the_true_volume_and_bounds(smoothing: int, slack: float):
    """Smoothing swells an edge by a tenth of a lattice cell."""
    _, theirs = _closed(box(), smoothing=smoothing)
    np.testing.assert_allclose(theirs.bounds, [[-0.3, -0.4, -0.5], [0.3, 0.4, 0.5]], atol=slack)
    # Lattice edges cut the box's edges and corners off.
    assert theirs.volume == pytest.approx(0.6 * 0.8 * 1.0, rel=0.02)


def test_vertices_lie_on_the_level_before_they_are_smoothed_and_thinned_out():
    """Bisection leaves 1/128 of a lattice edge; linear interpolation would leave far more."""
    found, _ = _closed(figure(), max_faces=10**6, smoothing=0)
    depth = figure().depth(torch.from_numpy(found.vertices)).numpy()
    assert np.abs(depth - LEVEL_DEPTH).max() < 2.0 / 48 / 64
    assert len(found.faces) > 3000


def test_decimation_keeps_the_surface():
    found, theirs = _closed(figure(), max_faces=1500)
    assert 1000 < len(found.faces) <= 1500
    depth = figure().depth(torch.from_numpy(found.vertices)).abs().numpy()
    assert depth.mean() < 0.003
    fine, fine_theirs = _closed(figure(), max_faces=10**6)
    assert len(fine.faces) > 2 * len(found.faces)
    assert theirs.volume == pytest.approx(fine_theirs.volume, rel=0.01)


def test_a_pinched_mesh_is_thinned_out_again_with_less_hurry(monkeypatch: pytest.MonkeyPatch):
    """With one face turned round, as if four met at an edge."""
    hurries: list[float] = []

    def pinching(name: str, arrays: list[np.ndarray], **settings: float) -> mesh_tools.Arrays:
        found = elsewhere.call(name, arrays, **settings)
        if name == "simplify":
            hurries.append(settings["hurry"])
            if settings["hurry"] > 4:
                found[1][0] = found[1][0, ::-1]
        return found

    monkeypatch.setattr(mesh, "elsewhere", SimpleNamespace(call=pinching))
    found, _ = _closed(figure(), max_faces=1000)
    assert hurries == [7, 5, 3]
    assert statistics.is_watertight(found.faces)


def test_normals_point_outward():
    found, _ = _closed(ball())
    normals = mesh.vertex_normals(found.vertices, found.faces)
    expected = found.vertices - [0.1, -0.05, 0.15]
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    assert (normals * expected).sum(axis=-1).min() > 0.97


def test_colours_are_those_of_the_parts():
    found, _ = _closed(figure())
    for colour, place in (
        (RED, [0.5, 0.0, 0.05]),
        (GREEN, [0.0, 0.65, 0.0]),
        (BLUE, [0.0, 0.0, 0.52]),
        (WHITE, [-0.35, 0.0, 0.0]),
    ):
        near = np.linalg.norm(found.vertices - np.array(place), axis=-1) < 0.06
        assert near.any()
        np.testing.assert_allclose(found.colours[near].mean(axis=0), colour, atol=0.02)


def test_colour_is_what_a_view_sees_and_not_the_thin_haze_outside():
    """Density 12 over red covers white: the level lies in the red, the light goes through it."""

    class Hazy(Solids):
        def density(self, x: torch.Tensor) -> torch.Tensor:
            self.num_densities += len(x)
            depth = self.depth(x)
            return 12.0 * (depth > 0) + 500.0 * (depth > 0.01)

        def albedo(self, x: torch.Tensor) -> torch.Tensor:
            white, red = torch.tensor(WHITE), torch.tensor(RED)
            return torch.where((self.depth(x) > 0.01)[:, None], white, red)

    found, _ = _closed(Hazy(parts=(Ball(radius=0.5),)))
    expected = 0.11 * np.array(RED) + 0.89 * np.array(WHITE)
    np.testing.assert_allclose(found.colours.mean(axis=0), expected, atol=0.04)


def test_islands_go_and_hollows_are_filled():
    class Hollow(Solids):
        def density(self, x: torch.Tensor) -> torch.Tensor:
            is_hollow = x.norm(dim=-1) < 0.3
            return torch.where(is_hollow, 0.0, super().density(x))

    speck = Box(centre=(0.0, 0.75, 0.0), half=(0.05, 0.05, 0.05))
    scene = Hollow(parts=(Ball(radius=0.5), speck))
    assert float(scene.density(torch.tensor([[0.0, 0.75, 0.0]]))) == 500.0
    found, theirs = _closed(scene)
    assert statistics.components(found.faces, len(found.vertices)) == 1
    assert found.vertices[:, 1].max() < 0.51
    assert theirs.volume == pytest.approx(4 / 3 * math.pi * 0.5**3, rel=0.01)


def test_two_large_parts_both_stay():
    parts = (Ball(centre=(0.0, -0.4, 0.0), radius=0.25), Ball(centre=(0.0, 0.4, 0.0), radius=0.3))
    found, _ = _closed(Solids(parts=parts))
    assert statistics.components(found.faces, len(found.vertices)) == 2


def test_what_reaches_beyond_the_ball_is_cut_off_there_and_closed():
    found, theirs = _closed(Solids(parts=(Ball(radius=3.0),)))
    radius = np.linalg.norm(found.vertices, axis=-1)
    assert np.abs(radius - 1.0).max() < 0.01
    assert theirs.volume == pytest.approx(4 / 3 * math.pi, rel=0.01)


def test_a_faint_scene_gets_a_lower_level():
    scene = ball()
    scene.peak = 3.0
    found, _ = _closed(scene)
    assert found.level == 2.5


def test_nothing_has_no_mesh():
    assert _build(nothing()) is None


@given(
    seed=st.integers(0, 10**6),
    size=st.integers(3, 12),
    # Powers of two make for exact ties.
    level=st.sampled_from([0.5, 1.0, 4.0]) | st.floats(0.1, 100.0),
)
def test_marching_cubes_closes_any_lattice(seed: int, size: int, level: float):
    """Noise, whose cubes show every case, and samples that lie on the level or beyond measure."""
    rng = np.random.default_rng(seed)
    density = rng.choice([0.0, 0.5 * level, level, 1.01 * level, 9.0 * level, 1e30], (size,) * 3)
    inside = density > level
    inside[1, 1, 1] = True
    vertices, faces = mesh._marching_cubes(density, Solid(level=level, inside=inside))
    assert statistics.is_watertight(faces)
    assert statistics.volume(vertices, faces) > 0
    is_inner = inside[tuple(np.rint(vertices).astype(int).clip(0, size - 1).T)]
    assert is_inner.any()
    assert (vertices > -1.0).all()
    assert (vertices < size).all()
