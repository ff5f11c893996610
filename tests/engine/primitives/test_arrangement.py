import pytest
import torch
from torch import Tensor

from engine.primitives import kinds
from engine.primitives.arrangement import BESIDE_GAP, BESIDE_WIDTH, MARGIN, ON_WIDTH, ROW_GAP
from engine.primitives.grammar import Geometry, geometries
from engine.primitives.shape import BOUND
from engine.primitives.solids import points

STEP = 0.025
AXIS = torch.arange(-0.85, 0.85 + STEP / 2, STEP)
GRID = torch.cartesian_prod(AXIS, AXIS, AXIS)
PROPORTIONS = torch.tensor(
    [[0.0] * 6, [1.0] * 6, [1.0, 0.0, 0.0, 1.0, 1.0, 0.0], [0.1, 0.9, 0.8, 0.3, 0.5, 0.6]]
)

on = [geometry for geometry in geometries() if geometry.relation == "on"]
beside = [geometry for geometry in geometries() if geometry.relation == "next to"]
rows = [geometry for geometry in geometries() if geometry.count > 1]


def bodies(geometry: Geometry) -> list[list[Tensor]]:
    """Grid points inside each solid of each row of `PROPORTIONS`."""
    found = kinds.slots(geometry, points(GRID.expand(len(PROPORTIONS), -1, -1)), PROPORTIONS)
    return [[GRID[gap < 0] for gap in scene] for scene in zip(*found, strict=True)]


def extent(body: Tensor, axis: int) -> tuple[float, float]:
    """Least and greatest coordinate."""
    return float(body[:, axis].min()), float(body[:, axis].max())


@pytest.mark.parametrize("geometry", on, ids=str)
def test_what_is_on_a_solid_rests_on_its_top(geometry: Geometry) -> None:
    for first, second in bodies(geometry):
        foot, top = extent(first, 2)
        bottom, rest = extent(second, 2)
        # Above it by no more than a step of the grid; a ball's or a ring's foot is small.
        assert -1e-5 < foot - rest < 3 * STEP
        assert top + bottom == pytest.approx(0, abs=4 * STEP)
        for body in (first, second):
            for axis in (0, 1):
                assert sum(extent(body, axis)) == pytest.approx(0, abs=1e-5)
        # It does not hang far over.
        ratio = extent(first, 1)[1] / extent(second, 1)[1]
        assert ON_WIDTH[0] - 0.1 < ratio < ON_WIDTH[1] + 0.1


@pytest.mark.parametrize("geometry", beside, ids=str)
def test_neighbours_stand_on_common_ground_the_first_at_the_left(geometry: Geometry) -> None:
    for first, second in bodies(geometry):
        right, left = extent(second, 1), extent(first, 1)
        assert left[0] > right[1]
        assert left[0] - right[1] < 0.25
        assert left[1] + right[0] == pytest.approx(0, abs=2 * STEP)
        ground = [extent(body, 2)[0] for body in (first, second)]
        assert ground[0] == pytest.approx(ground[1], abs=2 * STEP)
        for body in (first, second):
            assert sum(extent(body, 0)) == pytest.approx(0, abs=1e-5)


def runs(body: Tensor) -> list[tuple[float, float]]:
    """The unbroken stretches of y that a body covers."""
    levels = body[:, 1].unique()
    breaks = (levels.diff() > 1.5 * STEP).nonzero()[:, 0].tolist()
    starts, ends = [0, *(k + 1 for k in breaks)], [*breaks, len(levels) - 1]
    return [(float(levels[a]), float(levels[b])) for a, b in zip(starts, ends, strict=True)]


@pytest.mark.parametrize("geometry", rows, ids=str)
def test_a_row_has_as_many_solids_as_it_says_of_one_size(geometry: Geometry) -> None:
    for (body,) in bodies(geometry):
        found = runs(body)
        assert len(found) == geometry.count
        widths = [b - a for a, b in found]
        # A stretch of two thirds of a step may hold a point of the grid or none.
        assert max(widths) - min(widths) < 2.5 * STEP
        assert found[0][0] + found[-1][1] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("geometry", [*on, *beside, *rows], ids=str)
def test_an_arrangement_reaches_to_the_bounding_sphere_and_no_further(geometry: Geometry) -> None:
    for solids in bodies(geometry):
        farthest = max(float(body.norm(dim=1).max()) for body in solids)
        assert BOUND - MARGIN - 4 * STEP < farthest < BOUND


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_row_of_balls_is_what_the_sum_of_its_parts_is(count: int) -> None:
    u = torch.tensor([[0.3, 0.0, 0.0, 0.0, 0.0, 0.8]], dtype=torch.float64)
    # Gaps and half the row in radii; the last ball's far end touches the margin.
    gap = ROW_GAP[0] + 0.8 * (ROW_GAP[1] - ROW_GAP[0])
    radius = (BOUND - MARGIN) / (0.5 * (count - 1) * (2 + gap) + 1)
    places = [(k - 0.5 * (count - 1)) * (2 + gap) * radius for k in range(count)]
    here = 2 * torch.rand(1, 300, 3, dtype=torch.float64) - 1
    naive = [(here - torch.tensor([0.0, y, 0.0])).norm(dim=-1) - radius for y in places]
    (found,) = kinds.slots(Geometry("ball", count=count), points(here), u)
    torch.testing.assert_close(found, torch.stack(naive).amin(dim=0))


def test_a_ball_on_a_cube_is_what_its_lengths_say() -> None:
    u = torch.tensor([[0.9, 0.0, 0.25, 0.0, 0.4, 0.0]], dtype=torch.float64)
    # In units of half the cube: ball, common height, its farther end, the cube's lower corner.
    ratio = ON_WIDTH[0] + 0.4 * (ON_WIDTH[1] - ON_WIDTH[0])
    half = ratio + 1
    unit = (BOUND - MARGIN) / max(half, (2 + half**2) ** 0.5)
    here = 2 * torch.rand(1, 300, 3, dtype=torch.float64) - 1
    away = (here - torch.tensor([0.0, 0.0, unit * (half - ratio)])).norm(dim=-1)
    first, second = kinds.slots(Geometry("ball", "on", "cube"), points(here), u)
    torch.testing.assert_close(first, away - ratio * unit)
    # The cube's rounded edges lie inside the sharp cube.
    centre = torch.tensor([0.0, 0.0, unit * (1 - half)])
    sharp = (here - centre).abs().amax(dim=-1) < unit
    assert bool(((second < 0) <= sharp).all())
    assert int((second < 0).sum()) > 0.9 * int(sharp.sum())


def test_neighbours_have_the_relative_width_and_the_gap_of_their_proportions() -> None:
    # A line along Y through both, whose width is the same at every height.
    y = torch.arange(-0.84, 0.84, 1e-3)
    line = torch.stack([torch.zeros_like(y), y, torch.full_like(y, -0.1)], dim=-1)[None]
    for width, gap in ((0.0, 0.0), (1.0, 1.0), (0.2, 0.7)):
        u = torch.tensor([[0.5, 0.5, 0.3, 0.6, width, gap]])
        cube, cylinder = kinds.slots(Geometry("cube", "next to", "cylinder"), points(line), u)
        left, right = y[cube[0] < 0], y[cylinder[0] < 0]
        radius = float(right.max() - right.min()) / 2
        ratio = float(left.max() - left.min()) / 2 / radius
        low, high = BESIDE_WIDTH
        assert ratio == pytest.approx(low + width * (high - low), abs=0.02)
        low, high = BESIDE_GAP
        found = float(left.min() - right.max()) / radius
        assert found == pytest.approx(low + gap * (high - low), abs=0.02)
