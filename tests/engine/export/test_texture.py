import dataclasses

import numpy as np
import pytest
import torch

from engine.configs.export import ExportConfig
from engine.export import lattice, mesh, skin, statistics, texture
from engine.export.formats import sampled
from engine.export.mesh import Mesh

from .subjects import Ball, Solids, figure

CONFIG = ExportConfig(grid_size=64, max_faces=3000)
SIZE = 256


class Striped(Solids):
    """Colours that change slowly along all three axes, and not with the depth."""

    def albedo(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 + 0.4 * (5.0 * torch.nn.functional.normalize(x, dim=-1)).sin()


def _made(scene: Solids) -> tuple[Mesh, texture.Texture, float]:
    samples = lattice.sample(scene, CONFIG.grid_size)
    found = mesh.build(scene, samples, CONFIG)
    assert found is not None
    return found, texture.bake(scene, found, samples.spacing, SIZE), samples.spacing


@pytest.fixture(scope="module")
def striped() -> tuple[Mesh, texture.Texture, float]:
    return _made(Striped(parts=(Ball(radius=0.5),)))


def _surface_points(found: Mesh, paint: texture.Texture, num: int) -> tuple[np.ndarray, ...]:
    """Random places on the mesh, their normals and their texture coordinates."""
    rng = np.random.default_rng(0)
    face = rng.integers(0, len(found.faces), num)
    share = rng.dirichlet((1.0, 1.0, 1.0), num)
    normals = mesh.vertex_normals(found.vertices, found.faces)
    x, n = (np.einsum("pc,pcx->px", share, a[found.faces[face]]) for a in (found.vertices, normals))
    uv = np.einsum("pc,pcx->px", share, paint.uv[paint.faces[face]])
    return x, n / np.linalg.norm(n, axis=-1, keepdims=True), uv


def test_cutting_changes_no_face(striped):
    found, paint, _ = striped
    assert (paint.vertex[paint.faces] == found.faces).all()
    assert len(paint.vertex) > len(found.vertices)
    assert paint.uv.min() >= 0.0
    assert paint.uv.max() <= 1.0
    assert paint.picture.shape == (SIZE, SIZE, 3)


def test_the_texture_shows_what_a_ray_sees(striped):
    """Between vertices, too, and on both sides of a seam."""
    found, paint, spacing = striped
    x, normals, uv = _surface_points(found, paint, 4000)
    expected = skin.colours(Striped(parts=(Ball(radius=0.5),)), x, normals, spacing)
    off = np.abs(sampled(paint.picture, uv) - expected).max(axis=-1)
    assert off.mean() < 0.005
    assert np.quantile(off, 0.99) < 0.02
    assert off.max() < 0.1


def test_vertices_have_the_texture_s_colour(striped):
    found, paint, _ = striped
    off = np.abs(sampled(paint.picture, paint.uv) - found.colours[paint.vertex]).max(axis=-1)
    assert off.mean() < 0.01
    assert np.quantile(off, 0.99) < 0.05


def test_charts_do_not_overlap_and_fill_half_of_the_picture(striped):
    _, paint, _ = striped
    a, b, c = (paint.uv[paint.faces[:, k]] for k in range(3))
    area = 0.5 * np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).sum()
    assert 0.4 < area < 1.0


def test_faces_of_equal_area_have_about_as_many_texels(striped):
    found, paint, _ = striped
    a, b, c = (found.vertices[found.faces[:, k]] for k in range(3))
    on_mesh = np.linalg.norm(np.cross(b - a, c - a), axis=-1)
    a, b, c = (paint.uv[paint.faces[:, k]] for k in range(3))
    on_picture = np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])
    scale = on_picture / on_mesh
    low, high = np.quantile(scale, [0.05, 0.95])
    assert high < 2.5 * low


def test_the_rest_of_the_picture_takes_the_nearest_colour():
    picture = np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    known = torch.zeros(9, 7, dtype=torch.bool)
    places = [(1, 1), (5, 5), (8, 0)]
    for place in places:
        known[place] = True
    found = texture._filled(picture, known)
    for i, j in np.ndindex(9, 7):
        away = [(i - a) ** 2 + (j - b) ** 2 for a, b in places]
        nearest = [picture[p] for p, d in zip(places, away, strict=True) if d == min(away)]
        assert any((found[i, j] == colour).all() for colour in nearest)
    assert (texture._filled(picture, torch.zeros_like(known)) == picture).all()


def test_it_is_the_same_every_time():
    first, second = (_made(figure())[1] for _ in range(2))
    for field in dataclasses.fields(texture.Texture):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name))


def test_statistics_are_those_of_the_mesh_before_it_is_cut(striped):
    found, paint, _ = striped
    assert statistics.statistics(found)["mesh_watertight"] is True
    assert statistics.is_watertight(paint.faces) is False
