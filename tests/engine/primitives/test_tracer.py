import math

import pytest
import torch
from torch import Tensor

from engine.cameras import Cameras, orbit, rays, z_scale
from engine.primitives import kinds, tracer
from engine.primitives.grammar import Geometry
from engine.primitives.kinds import NUM_PROPORTIONS
from engine.primitives.shape import Proportions, Slots
from engine.primitives.solids import Points, box, sphere
from engine.primitives.tracer import HIT, SUPERSAMPLING, Lighting, Traced, trace

RADIUS, CENTRE = 0.4, (0.1, -0.2, 0.15)
PALETTE = torch.tensor([[0.8, 0.4, 0.2], [0.1, 0.2, 0.9]])
SIZE = 24


def ball(p: Points, u: Proportions) -> Slots:
    """A ball off the centre, whose upper half is of the second slot."""
    return sphere(p.about(*CENTRE), RADIUS), sphere(p.about(0.1, -0.2, 0.2), RADIUS - 0.05)


def flag(p: Points, u: Proportions) -> Slots:
    """A plate of three bands across Y, each in its own slot; the middle one is the third."""
    left, middle, right = (box(p.about(y=y), 0.1, 0.15, 0.4) for y in (0.3, 0.0, -0.3))
    return left, right, middle


def wall(p: Points, u: Proportions) -> Slots:
    """A plate whose front is the plane x = 0.2, and a smaller one a little before it."""
    return box(p.about(x=0.1), 0.1, 0.55, 0.55), box(p.about(x=0.2), 0.1, 0.55, 0.2)


@pytest.fixture(autouse=True)
def _bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kinds.SHAPES, "ball", ball)
    monkeypatch.setitem(kinds.SHAPES, "wall", wall)
    monkeypatch.setitem(kinds.SHAPES, "flag", flag)


def cameras(num: int = 2, size: int = SIZE) -> Cameras:
    angle = torch.arange(num, dtype=torch.float32)
    return orbit(70 * angle, 20 + 15 * angle, 2.2 + 0.1 * angle, torch.full((num,), 45.0), size)


def lighting(num: int = 2, **changes: float) -> Lighting:
    share = {"ambient": 1.0, "diffuse": 0.0, "textureless": 0.0} | changes
    position = torch.tensor([[0.5, 1.0, 1.5]]).expand(num, 3)
    return Lighting(position=position, **{k: torch.full((num,), v) for k, v in share.items()})


def draw(kind: str, views: Cameras, light: Lighting | None = None) -> Traced:
    num = len(views.focal)
    proportions = torch.full((num, NUM_PROPORTIONS), 0.5)
    palette = PALETTE.expand(num, 2, 3)
    return trace(Geometry(kind), proportions, palette, views, light or lighting(num))


def meet_ball(views: Cameras) -> Tensor:
    """Distance along each pixel's ray to the ball, by the quadratic formula; NaN where missed."""
    origin, direction = (r.double() for r in rays(views))
    out = origin - torch.tensor(CENTRE, dtype=torch.float64)
    b = (out * direction).sum(-1)
    root = b * b - out.square().sum(-1) + RADIUS**2
    return -b - torch.where(root >= 0, root, torch.nan).sqrt()


def pooled(values: Tensor) -> Tensor:
    """Means over squares of supersamples, by loops."""
    s = SUPERSAMPLING
    parts = [values[:, i::s, j::s] for i in range(s) for j in range(s)]
    return torch.stack(parts).sum(dim=0) / s**2


def test_depth_of_a_ball_is_the_analytic_z_depth() -> None:
    views = cameras()
    fine = views.resized(SIZE * SUPERSAMPLING)
    distance = meet_ball(fine)
    traced = draw("ball", views)
    covered = pooled(distance.isfinite().double())
    z_depth = pooled(torch.where(distance.isnan(), 0, distance * z_scale(fine).double()))
    inner = covered == 1
    assert int(inner.sum()) > 80
    error = (traced.depth.double() - z_depth)[inner]
    assert float(error.abs().max()) < 5 * HIT
    # It is told apart from the distance along the ray.
    along = pooled(torch.where(distance.isnan(), 0, distance))[inner]
    assert float((along - z_depth[inner]).max()) > 10 * HIT


def test_alpha_is_the_covered_share_of_a_pixel() -> None:
    views = cameras()
    covered = pooled(meet_ball(views.resized(SIZE * SUPERSAMPLING)).isfinite().float())
    traced = draw("ball", views)
    # The tracer thickens a body by up to HIT, which may tip a supersample at the rim.
    assert float((traced.alpha - covered).abs().mean()) < 0.01
    assert float(traced.alpha.sum()) == pytest.approx(float(covered.sum()), rel=0.02)
    assert set(traced.alpha.unique().tolist()) == {0.0, 0.25, 0.5, 0.75, 1.0}


def test_normals_of_a_ball_point_away_from_its_centre() -> None:
    views = cameras()
    traced = draw("ball", views)
    origin, direction = rays(views)
    distance = meet_ball(views).float()
    outward = origin + distance[..., None] * direction - torch.tensor(CENTRE)
    outward = torch.nn.functional.normalize(outward, dim=-1)
    inner = traced.alpha == 1
    cosine = (traced.normal * outward).sum(-1)[inner]
    assert float(cosine.nanquantile(0.02)) > 0.99
    torch.testing.assert_close(traced.normal[inner].norm(dim=-1), torch.ones(int(inner.sum())))


def test_a_miss_is_zero_throughout() -> None:
    traced = draw("ball", cameras())
    missed = traced.alpha == 0
    assert int(missed.sum()) > 100
    for values in (traced.colour, traced.depth, traced.normal):
        assert float(values[missed].abs().max()) == 0


def test_a_camera_that_looks_away_sees_nothing() -> None:
    views = cameras()
    turned = views.c2w.clone()
    turned[:, :3, :3] = turned[:, :3, :3] @ torch.diag(torch.tensor([-1.0, 1.0, -1.0]))
    traced = draw("ball", Cameras(c2w=turned, focal=views.focal, size=SIZE))
    assert float(traced.alpha.max()) == 0
    assert float(traced.depth.max()) == 0


def head_on() -> Cameras:
    zero = torch.zeros(1)
    return orbit(zero, zero, zero + 2.2, zero + 40.0, SIZE)


def test_a_plane_has_one_z_depth_and_one_normal() -> None:
    traced = draw("wall", head_on())
    first = (traced.alpha == 1) & ((traced.colour - PALETTE[0]).abs().amax(-1) < 1e-4)
    second = (traced.alpha == 1) & ((traced.colour - PALETTE[1]).abs().amax(-1) < 1e-4)
    for pixels, front in ((first, 0.2), (second, 0.3)):
        assert int(pixels.sum()) > 30
        depth = traced.depth[pixels]
        torch.testing.assert_close(depth, torch.full_like(depth, 2.2 - front), atol=HIT, rtol=0)
        normal = traced.normal[pixels]
        torch.testing.assert_close(
            normal, torch.tensor([1.0, 0, 0]).expand_as(normal), atol=0.02, rtol=0
        )


def test_each_of_three_slots_has_its_own_colour() -> None:
    views, palette = head_on(), torch.rand(1, 3, 3)
    traced = trace(Geometry("flag"), torch.zeros(1, NUM_PROPORTIONS), palette, views, lighting(1))
    focal = float(views.focal)
    # Left of the object is right in its front view.
    for slot, y in ((0, 0.3), (1, -0.3), (2, 0.0)):
        column = int(SIZE / 2 + focal * y / (2.2 - 0.1))
        torch.testing.assert_close(traced.colour[0, SIZE // 2, column], palette[0, slot])


def test_colour_is_straight_up_to_the_rim() -> None:
    traced = draw("wall", head_on(), lighting(1, textureless=1.0))
    rim = (traced.alpha > 0) & (traced.alpha < 1)
    assert int(rim.sum()) > 10
    torch.testing.assert_close(traced.colour[rim], torch.ones(int(rim.sum()), 3))


@pytest.mark.parametrize("textureless", [0.0, 1.0])
def test_light_falls_as_lambert_says(textureless: float) -> None:
    light = lighting(1, ambient=0.3, diffuse=0.7, textureless=textureless)
    views = head_on()
    traced = draw("wall", views, light)
    row, column = SIZE // 2, 3 * SIZE // 4
    assert float(traced.alpha[0, row, column]) == 1
    # The smaller plate's front, x = 0.3; a pixel's samples average to its centre.
    y = (2.2 - 0.3) * (column + 0.5 - SIZE / 2) / float(views.focal)
    z = -(2.2 - 0.3) * (row + 0.5 - SIZE / 2) / float(views.focal)
    towards = [a - b for a, b in zip(light.position[0].tolist(), (0.3, y, z), strict=True)]
    strength = 0.3 + 0.7 * towards[0] / math.hypot(*towards)
    albedo = torch.ones(3) if textureless else PALETTE[1]
    torch.testing.assert_close(
        traced.colour[0, row, column], strength * albedo, atol=0.01, rtol=0.01
    )


def test_what_faces_away_from_the_light_has_the_ambient_share() -> None:
    light = lighting(1, ambient=0.25, diffuse=0.75, textureless=1.0)
    behind = Lighting(
        position=torch.tensor([[-2.0, 0.0, 0.0]]),
        ambient=light.ambient,
        diffuse=light.diffuse,
        textureless=light.textureless,
    )
    traced = draw("wall", head_on(), behind)
    inner = traced.alpha == 1
    assert int(inner.sum()) > 60
    torch.testing.assert_close(traced.colour[inner], torch.full((int(inner.sum()), 3), 0.25))


def march_by_small_steps(geometry: Geometry, views: Cameras, proportions: Tensor) -> Tensor:
    """Distance along each ray to the first of many points that lies inside; infinite if none."""
    origin, direction = (r.flatten(1, 2) for r in rays(views))
    t = torch.arange(1.0, 3.6, 0.004)
    found = torch.full(origin.shape[:2], torch.inf)
    for distance in reversed(t.tolist()):
        here = origin + distance * direction
        inside = kinds.distances(geometry, here, proportions).amin(-1) < 0
        found = torch.where(inside, distance, found)
    return found


@pytest.mark.parametrize(
    "geometry",
    [*map(Geometry, ("chair", "umbrella", "boat", "teapot")), Geometry("cone", "on", "cube")],
    ids=str,
)
def test_marching_finds_what_small_steps_find(geometry: Geometry) -> None:
    num, size = 3, 14
    views, proportions = cameras(num, size), torch.rand(num, NUM_PROPORTIONS)
    expected = march_by_small_steps(geometry, views, proportions)
    origin, direction = (r.flatten(1, 2).mT.contiguous() for r in rays(views))
    found = tracer.march(geometry, proportions, origin, direction)
    both = found.isfinite() & expected.isfinite()
    assert int(both.sum()) > 40
    # Rays that graze may count as a hit for one and as a miss for the other.
    assert float((found.isfinite() != expected.isfinite()).float().mean()) < 0.02
    # Never through a surface, and never stopped further from it than HIT.
    assert float((found - expected)[both].max()) < 0.004
    assert float((expected - found)[both].median()) < 4 * HIT
    surface = (origin + found.nan_to_num(posinf=0.0)[:, None] * direction).mT
    gap = kinds.distances(geometry, surface, proportions).amin(-1)
    assert float(gap[found.isfinite()].max()) < 1.01 * HIT


def test_active_rays_come_first_padded_to_the_longest() -> None:
    active = torch.tensor([[False, True, False, True, True], [True, False, False, False, False]])
    index = tracer._active_first(active)
    assert index.shape == (2, 3)
    assert index[0].tolist() == [1, 3, 4]
    assert int(index[1, 0]) == 0
    assert not active[1, index[1, 1:]].any()
    assert tracer._active_first(torch.zeros(2, 5, dtype=torch.bool)).shape == (2, 0)


def test_a_picture_does_not_depend_on_its_company() -> None:
    views, light = cameras(3), lighting(3, ambient=0.4, diffuse=0.6)
    proportions = torch.rand(3, NUM_PROPORTIONS)
    together = trace(Geometry("chair"), proportions, PALETTE.expand(3, 2, 3), views, light)
    one = slice(1, 2)
    alone = trace(
        Geometry("chair"),
        proportions[one],
        PALETTE[None],
        Cameras(c2w=views.c2w[one], focal=views.focal[one], size=SIZE),
        lighting(1, ambient=0.4, diffuse=0.6),
    )
    for name in ("colour", "alpha", "depth", "normal"):
        torch.testing.assert_close(getattr(together, name)[one], getattr(alone, name))
