import itertools

import torch

from engine.export import lattice, solid
from engine.export.segments import Segments
from engine.export.subject import density_at
from engine.export.surface import Surface

from .subjects import Ball, Soft, Solids, everywhere


def _samples(scene: Solids, segments: Segments, num: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances and densities."""
    distance = segments.distances(num)
    x = segments.origins[:, None] + distance[..., None] * segments.directions[:, None]
    return distance, density_at(scene, x)


def test_the_surface_is_found_far_more_finely_than_the_samples_lie():
    """Along rays to the middle of a ball whose density is 5 at 1/16 of its depth."""
    scene, num, away = Soft(parts=(Ball(radius=0.5),)), 20, 2.0
    directions = torch.nn.functional.normalize(
        torch.randn(50, 3, generator=torch.Generator().manual_seed(1)), dim=-1
    )
    segments = Segments(
        origins=-away * directions,
        directions=directions,
        near=torch.linspace(1.0, 1.1, 50),
        delta=torch.full((50,), 0.1),
    )
    samples = _samples(scene, segments, num)
    found = everywhere(5.0).distance(scene, segments, *samples)
    assert float((found - (away - 0.5 + 0.0625)).abs().max()) < 0.1 / 64
    assert everywhere(12.5).distance(scene, segments, *samples).isinf().all()


def test_an_island_that_the_mesh_drops_has_no_surface():
    """Rays along -x through a small ball and the large one behind it, as a walk over cells that
    knows which are the large one's finds."""
    large, small = Ball(radius=0.4), Ball(centre=(0.8, 0.0, 0.0), radius=0.1)
    scene, size, num = Soft(parts=(large, small)), 32, 200
    samples = lattice.sample(scene, size)
    found = solid.find(samples.density.numpy(), 3.0)
    assert found is not None
    assert bool((samples.density > 3.0)[28, 15, 15])
    assert not found.inside[24:].any()
    side = torch.linspace(-0.06, 0.06, 5)
    y, z = torch.cartesian_prod(side, side).T
    segments = Segments(
        origins=torch.stack([torch.ones(25), y, z], dim=-1),
        directions=torch.tensor([-1.0, 0.0, 0.0]).expand(25, 3),
        near=torch.zeros(25),
        delta=torch.full((25,), 2.0 / num),
    )
    distance, sigma = _samples(scene, segments, num)
    stopped = everywhere(3.0).distance(scene, segments, distance, sigma)
    away = Surface.of(found, samples).distance(scene, segments, distance, sigma)
    assert bool((stopped < 0.3).any())
    alone = Soft(parts=(large,))
    expected = everywhere(3.0).distance(alone, segments, *_samples(alone, segments, num))
    torch.testing.assert_close(away, expected)
    assert 0.6 < float(away.min()) < float(away.max()) < 0.7


def test_all_of_a_solid_s_surface_is_its_own():
    """No ray that meets the level anywhere misses it around the cells."""
    scene = Soft(parts=(Ball(radius=0.45), Ball(centre=(0.1, 0.3, 0.2), radius=0.3)))
    samples = lattice.sample(scene, 24)
    found = solid.find(samples.density.numpy(), 4.0)
    assert found is not None
    corners = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)))
    origins = 2.0 * torch.nn.functional.normalize(corners, dim=-1).repeat(200, 1)
    targets = 0.5 * torch.randn(len(origins), 3, generator=torch.Generator().manual_seed(2))
    segments = Segments(
        origins=origins,
        directions=torch.nn.functional.normalize(targets - origins, dim=-1),
        near=torch.full((len(origins),), 0.5),
        delta=torch.full((len(origins),), 3.0 / 400),
    )
    distance, sigma = _samples(scene, segments, 400)
    expected = everywhere(4.0).distance(scene, segments, distance, sigma)
    assert 300 < int(expected.isfinite().sum()) < len(origins) - 300
    assert torch.equal(
        Surface.of(found, samples).distance(scene, segments, distance, sigma), expected
    )
