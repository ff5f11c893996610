import itertools
import math

import pytest
import torch
from torch import Tensor

from engine.cameras import Cameras, orbit
from engine.primitives import kinds
from engine.primitives.grammar import ACCENTS, KINDS
from engine.primitives.kinds import BOUND, NUM_PROPORTIONS
from engine.primitives.tracer import Lighting, trace

TWO_PARTS = [kind for kind in KINDS if ACCENTS[kind] is not None]
SIDES = {"front": (0.0, 15.0), "left": (90.0, 15.0), "back": (180.0, 15.0), "right": (270.0, 15.0)}
REACH = {"bed": 0.07, "hammer": 0.02, "airplane": 0.02}
"""How far corners of a kind may reach out of the bounding sphere, which cuts them off."""
VIEWS = {**SIDES, "above": (0.0, 85.0), "below": (45.0, -10.0)}


def extremes() -> Tensor:
    """Proportions at all corners of the unit cube, and some inside it."""
    corners = torch.tensor(list(itertools.product((0.0, 1.0), repeat=NUM_PROPORTIONS)))
    return torch.cat([corners, torch.rand(16, NUM_PROPORTIONS)]).double()


def directions(num: int) -> Tensor:
    """Unit vectors evenly over the sphere, on a Fibonacci spiral."""
    k = torch.arange(num, dtype=torch.float64) + 0.5
    z = 1 - 2 * k / num
    angle = k * math.pi * (3 - math.sqrt(5))
    level = (1 - z * z).sqrt()
    return torch.stack([level * angle.cos(), level * angle.sin(), z], dim=-1)


def whole(kind: str, xyz: Tensor, proportions: Tensor) -> Tensor:
    """Distance to the object, "B P"."""
    xyz = xyz.expand(len(proportions), -1, -1)
    return kinds.distances(kind, xyz, proportions).amin(dim=-1)


def test_every_kind_of_the_language_has_a_shape_with_its_parts() -> None:
    assert set(kinds.SHAPES) == set(KINDS)
    for kind in KINDS:
        found = kinds.distances(kind, torch.zeros(2, 5, 3), torch.rand(2, NUM_PROPORTIONS))
        assert found.shape == (2, 5, 1 if ACCENTS[kind] is None else 2)


@pytest.mark.parametrize("kind", KINDS)
def test_every_object_lies_inside_the_bounding_sphere(kind: str) -> None:
    way, reach = directions(1500), REACH.get(kind, 0.0)
    # The sphere itself finely, and shells outside of it, where a part might float.
    shells = [(BOUND + reach) * way, *(r * way[::4] for r in (0.92, 1.0, 1.2, 1.6))]
    assert float(whole(kind, torch.cat(shells), extremes()).min()) > 0
    # Not for want of size: some object of the kind comes near the sphere's half.
    assert float(whole(kind, 0.45 * way, extremes()).min()) < 0


@pytest.mark.parametrize("kind", REACH)
def test_of_the_kinds_that_reach_out_little_is_cut_off(kind: str) -> None:
    is_cut = whole(kind, BOUND * directions(6000), extremes()) < 0
    assert bool(is_cut.any())
    assert float(is_cut.double().mean(dim=1).max()) < 0.004


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_s_distance_grows_faster_than_the_way(kind: str) -> None:
    u = extremes()[::4]
    here = 2.0 * torch.rand(len(u), 500, 3).double() - 1.0
    step = torch.randn(len(u), 500, 3).double() * 10 ** (-4 * torch.rand(len(u), 500, 1)).double()
    change = kinds.distances(kind, here, u) - kinds.distances(kind, here + step, u)
    assert bool((change.abs() <= step.norm(dim=-1, keepdim=True) + 1e-8).all())


def cameras(size: int) -> Cameras:
    azimuth, elevation = torch.tensor(list(VIEWS.values())).unbind(-1)
    return orbit(
        azimuth, elevation, torch.full_like(azimuth, 2.2), torch.full_like(azimuth, 45.0), size
    )


def coverage(kind: str, size: int = 40) -> tuple[Tensor, Tensor]:
    """Pixels covered by the main part and by the accent from each view, "views" each."""
    num = len(VIEWS)
    light = Lighting(
        position=torch.ones(num, 3),
        ambient=torch.ones(num),
        diffuse=torch.zeros(num),
        textureless=torch.zeros(num),
    )
    palette = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).expand(num, 2, 3)
    proportions = torch.full((num, NUM_PROPORTIONS), 0.5)
    traced = trace(kind, proportions, palette, cameras(size), light)
    shares = (traced.colour * traced.alpha[..., None]).sum(dim=(1, 2))
    return shares[:, 0], shares[:, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_seen_from_all_sides(kind: str) -> None:
    main, accent = coverage(kind)
    covered = (main + accent) / 40**2
    for view, share in zip(VIEWS, covered.tolist(), strict=True):
        assert share > 0.02, view


@pytest.mark.parametrize("kind", TWO_PARTS)
def test_both_parts_show_from_most_sides(kind: str) -> None:
    parts = torch.stack(coverage(kind))
    for name, pixels in zip(("main", "accent"), parts[:, : len(SIDES)], strict=True):
        # Of 40 x 40 pixels; one side may hide a part, such as a screen.
        assert int((pixels > 5.0).sum()) >= 3, name


@pytest.mark.parametrize("kind", [kind for kind in KINDS if ACCENTS[kind] is None])
def test_a_kind_of_one_piece_wears_one_colour(kind: str) -> None:
    main, accent = coverage(kind, size=16)
    assert float(main.min()) > 0
    assert float(accent.max()) == 0
