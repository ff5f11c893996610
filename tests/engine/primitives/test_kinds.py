import itertools
import math
from dataclasses import astuple

import pytest
import torch
from torch import Tensor

from engine.cameras import orbit
from engine.primitives import kinds
from engine.primitives.grammar import KINDS, PARTS, Geometry, geometries
from engine.primitives.kinds import NUM_PROPORTIONS
from engine.primitives.shape import BOUND
from engine.primitives.tracer import Lighting, trace

SIDES = {"front": (0.0, 15.0), "left": (90.0, 15.0), "back": (180.0, 15.0), "right": (270.0, 15.0)}
VIEWS = {**SIDES, "above": (0.0, 85.0), "below": (45.0, -10.0)}
AROUND = {f"{azimuth}": (float(azimuth), 30.0) for azimuth in range(0, 360, 45)}
"""The views by which colours are judged."""

LEAST_PART = 0.03
"""Share of an object's pixels that its smallest part has, in the mean over `AROUND`."""

PLACES = {
    ("car", "roof"): (-0.16, 0.0, 0.14),
    ("car", "wheels"): (0.4, 0.33, -0.27),
    ("lamp", "stand"): (0.0, 0.0, -0.2),
    ("lamp", "foot"): (0.15, 0.0, -0.62),
    ("rocket", "fins"): (0.35, 0.0, -0.4),
    ("rocket", "nose"): (0.0, 0.0, 0.5),
    ("snowman", "hat"): (0.0, 0.0, 0.7),
    ("snowman", "base"): (0.0, 0.0, -0.4),
    ("bed", "frame"): (-0.56, 0.0, 0.2),
    ("bed", "pillow"): (-0.35, 0.0, 0.07),
    ("robot", "head"): (0.0, 0.0, 0.43),
    ("robot", "legs"): (0.0, 0.15, -0.6),
    ("cake", "icing"): (0.5, 0.0, -0.05),
    ("cake", "top"): (0.0, 0.0, 0.12),
    ("airplane", "wings"): (0.1, 0.5, 0.0),
    ("airplane", "tail"): (-0.57, 0.0, 0.35),
}
"""A point inside each part of the kinds that have three, at middling proportions."""


def name(geometry: Geometry) -> str:
    """A test's name for a geometry."""
    return " ".join(str(part) for part in astuple(geometry) if part not in ("", 1))


every_geometry = pytest.mark.parametrize("geometry", geometries(), ids=name)
every_kind_of_parts = pytest.mark.parametrize("kind", [kind for kind in KINDS if PARTS[kind]])


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


def whole(geometry: Geometry, xyz: Tensor, proportions: Tensor) -> Tensor:
    """Distance to the scene, "B P"."""
    xyz = xyz.expand(len(proportions), -1, -1)
    return kinds.distances(geometry, xyz, proportions).amin(dim=-1)


def test_every_kind_of_the_language_has_a_shape() -> None:
    assert set(kinds.SHAPES) == set(KINDS)


@every_geometry
def test_every_colour_of_a_geometry_has_a_distance(geometry: Geometry) -> None:
    found = kinds.distances(geometry, torch.zeros(2, 5, 3), torch.rand(2, NUM_PROPORTIONS))
    assert found.shape == (2, 5, geometry.slots)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if len(PARTS[kind]) > 1])
def test_parts_are_in_the_order_of_their_words(kind: str) -> None:
    middle = torch.full((1, NUM_PROPORTIONS), 0.5)
    for slot, part in enumerate(PARTS[kind], start=1):
        place = torch.tensor([[PLACES[kind, part.word]]])
        gaps = kinds.distances(Geometry(kind), place, middle)[0, 0]
        assert int(gaps.argmin()) == slot, part.word
        assert float(gaps[slot]) < -0.01, part.word


@every_geometry
def test_every_scene_lies_inside_the_bounding_sphere(geometry: Geometry) -> None:
    way = directions(1500)
    # The sphere itself finely, and shells outside of it, where a part might float.
    shells = [BOUND * way, *(r * way[::4] for r in (0.92, 1.0, 1.2, 1.6))]
    assert float(whole(geometry, torch.cat(shells), extremes()).min()) > 0
    # Not for want of size: some scene of the geometry comes to two thirds of the sphere.
    assert float(whole(geometry, 0.6 * way, extremes()).min()) < 0


@every_geometry
def test_no_distance_of_a_geometry_grows_faster_than_the_way(geometry: Geometry) -> None:
    u = extremes()[::4]
    here = 2.0 * torch.rand(len(u), 500, 3).double() - 1.0
    step = torch.randn(len(u), 500, 3).double() * 10 ** (-4 * torch.rand(len(u), 500, 1)).double()
    change = kinds.distances(geometry, here, u) - kinds.distances(geometry, here + step, u)
    assert bool((change.abs() <= step.norm(dim=-1, keepdim=True) + 1e-8).all())


def coverage(geometry: Geometry, views: dict[str, tuple[float, float]], size: int = 40) -> Tensor:
    """Pixels covered by each slot from each view, "views slots"."""
    azimuth, elevation = torch.tensor(list(views.values())).unbind(-1)
    one = torch.ones_like(azimuth)
    light = Lighting(
        position=torch.ones(len(views), 3), ambient=one, diffuse=0 * one, textureless=0 * one
    )
    # One primary colour a slot.
    palette = torch.eye(3)[: geometry.slots].expand(len(views), -1, -1)
    traced = trace(
        geometry,
        torch.full((len(views), NUM_PROPORTIONS), 0.5),
        palette,
        orbit(azimuth, elevation, 2.2 * one, 45.0 * one, size),
        light,
    )
    return (traced.colour * traced.alpha[..., None]).sum(dim=(1, 2))[:, : geometry.slots]


@every_geometry
def test_every_scene_is_seen_from_all_sides(geometry: Geometry) -> None:
    covered = coverage(geometry, VIEWS).sum(dim=1) / 40**2
    for view, share in zip(VIEWS, covered.tolist(), strict=True):
        assert share > 0.02, view


@every_kind_of_parts
def test_every_part_shows_from_most_sides(kind: str) -> None:
    words = ["main", *(part.word for part in PARTS[kind])]
    for word, pixels in zip(words, coverage(Geometry(kind), SIDES).T, strict=True):
        # Of 40 x 40 pixels; one side may hide a part, such as a screen.
        assert int((pixels > 5.0).sum()) >= 3, word


@every_kind_of_parts
def test_every_part_is_large_enough_for_its_colour_to_be_judged(kind: str) -> None:
    pixels = coverage(Geometry(kind), AROUND).sum(dim=0)
    shares = dict(zip(["main", *PARTS[kind]], (pixels / pixels.sum()).tolist(), strict=True))
    assert min(shares.values()) > LEAST_PART, shares


@pytest.mark.parametrize("geometry", [g for g in geometries() if g.relation], ids=name)
def test_both_solids_of_a_relation_are_judged_by_their_colours(geometry: Geometry) -> None:
    pixels = coverage(geometry, AROUND).sum(dim=0)
    assert float(pixels.min() / pixels.sum()) > 0.15
