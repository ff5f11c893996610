import torch

from engine.configs.march import MarchConfig
from engine.export import lattice
from engine.export.occupancy import DENSITY_FLOOR, Occupancy, occupied
from engine.export.segments import Segments

from .subjects import figure, nothing


def _figure(size: int = 48) -> Occupancy:
    return occupied(lattice.sample(figure(), size))


def _segments(num: int, seed: int) -> tuple[Segments, torch.Tensor]:
    """Rays from outside through the middle, cut into 64 intervals over the unit ball."""
    generator = torch.Generator().manual_seed(seed)
    origins = torch.nn.functional.normalize(torch.randn(num, 3, generator=generator), dim=-1) * 2.4
    target = 0.3 * torch.randn(num, 3, generator=generator)
    directions = torch.nn.functional.normalize(target - origins, dim=-1)
    near, delta = torch.full((num,), 1.4), torch.full((num,), 2.0 / 64)
    segments = Segments(origins=origins, directions=directions, near=near, delta=delta)
    return segments, segments.distances(64)


def test_floor_is_the_optimisation_s():
    assert MarchConfig().density_floor == DENSITY_FLOOR


def test_every_dense_point_is_in_an_occupied_cell_and_in_the_box():
    occupancy = _figure()
    x = torch.rand(100_000, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
    dense = x[figure().density(x) > 10.0]
    assert len(dense) > 1000
    cell = ((dense + 1) * 24).long()
    assert bool(occupancy.cells[cell[:, 0], cell[:, 1], cell[:, 2]].all())
    assert bool(((dense >= occupancy.low) & (dense <= occupancy.high)).all())
    assert float(occupancy.cells.float().mean()) < 0.2


def test_box_is_tight_to_two_cells():
    occupancy = _figure()
    low, high = torch.tensor([-0.35, -0.35, -0.35]), torch.tensor([0.5, 0.65, 0.52])
    assert bool((occupancy.low <= low).all())
    assert bool((occupancy.low >= low - 2.01 / 24).all())
    assert bool((occupancy.high >= high).all())
    assert bool((occupancy.high <= high + 2.01 / 24).all())


def test_visible_leaves_out_only_empty_or_hidden_samples():
    scene, occupancy = figure(), _figure(64)
    segments, distance = _segments(500, seed=2)
    visible = occupancy.visible(segments, distance)
    x = segments.origins[:, None] + distance[..., None] * segments.directions[:, None]
    sigma = scene.density(x.reshape(-1, 3).clamp(-1, 1)).reshape(distance.shape)
    tau = (sigma * segments.delta[:, None]).cumsum(-1)
    dense = (sigma > 20.0) & (x.norm(dim=-1) < 1)
    hidden = dense & ~visible
    assert int(hidden.sum()) > 100
    assert float((tau - sigma * segments.delta[:, None])[hidden].min()) > 9.2
    assert int((dense & visible).sum()) > 100
    assert float(visible.float().mean()) < 0.3


def test_span_agrees_with_points_along_the_ray():
    occupancy = _figure()
    segments, _ = _segments(300, seed=3)
    near, far = occupancy.span(segments.origins, segments.directions)
    t = torch.linspace(0, 4, 4001)
    x = segments.origins[:, None] + t[:, None] * segments.directions[:, None]
    inside = ((x > occupancy.low) & (x < occupancy.high)).all(dim=-1)
    hits = inside.any(dim=-1)
    assert 0 < int(hits.sum()) < 300
    first = t[inside.float().argmax(dim=-1)][hits]
    torch.testing.assert_close(near[hits], first, atol=2e-3, rtol=0)
    torch.testing.assert_close((far - near)[hits], inside.sum(-1)[hits] * 1e-3, atol=3e-3, rtol=0)
    assert bool(((far - near)[~hits] < 2e-3).all())


def test_a_ray_along_an_axis_divides_by_zero_and_still_hits():
    occupancy = _figure()
    directions = torch.tensor([[-1.0, 0.0, 0.0]])
    near, far = occupancy.span(torch.tensor([[2.4, 0.01, 0.01]]), directions)
    assert float(far - near) > 0.8
    near, far = occupancy.span(torch.tensor([[2.4, 0.99, 0.01]]), directions)
    assert float(far) <= float(near)


def test_nothing_has_an_empty_box_that_no_ray_hits():
    occupancy = occupied(lattice.sample(nothing(), 16))
    assert occupancy.low.tolist() == occupancy.high.tolist()
    segments, _ = _segments(50, seed=4)
    near, far = occupancy.span(segments.origins, segments.directions)
    assert not bool((far > near).any())
