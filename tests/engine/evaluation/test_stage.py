"""Pictures of optimised scenes agree with those of the same true shapes."""

import math

import pytest
import torch
from torch import Tensor

from engine.evaluation import stage
from engine.evaluation.stage import BACKGROUND, Staged, show_scenes, show_true_shapes
from engine.primitives.grammar import COLOURS, Spec
from tests.engine.export.subjects import Ball, Solids

TAN = math.tan(math.radians(22.5))
SPEC = Spec("ball", ("orange",))


def behind() -> Tensor:
    return torch.tensor(BACKGROUND)[:, None, None]


@pytest.fixture(scope="module")
def true() -> Staged:
    return show_true_shapes([SPEC], torch.full((1, 6), 0.5))


def test_a_ball_is_a_ball_however_it_is_held(true: Staged) -> None:
    seen = (true.colour[0, 0] - behind()).abs().amax(dim=0) > 0.02
    # At distance 2.2 a ball of radius r covers a disc of radius tan(asin(r / 2.2)) at distance 1.
    tangent = 2.0 * TAN * math.sqrt(float(seen.float().mean()) / math.pi)
    radius = 2.2 * tangent / math.sqrt(1.0 + tangent**2)
    made = Solids(parts=(Ball(radius=radius, colour=COLOURS["orange"]),), peak=2000.0)
    found = show_scenes([made])
    assert found.is_there.tolist() == true.is_there.tolist() == [True]
    for pictures, truth in ((found.colour, true.colour), (found.geometry, true.geometry)):
        assert pictures.shape == (1, 8, 3, 64, 64)
        assert float((pictures - truth).abs().mean()) < 0.015


def test_colour_is_albedo_and_geometry_is_white_and_lit(true: Staged) -> None:
    middle = (slice(None), slice(None), slice(None), 32, 32)
    orange = torch.tensor(COLOURS["orange"]).expand(1, 8, 3)
    torch.testing.assert_close(true.colour[middle], orange, atol=0.01, rtol=0)
    torch.testing.assert_close(true.geometry[middle], torch.ones(1, 8, 3), atol=0.02, rtol=0)
    is_object = (true.colour[0, 0] - behind()).abs().amax(dim=0) > 0.3
    darkest = float(true.geometry[0, 0, 0][is_object].min())
    assert 0.3 <= darkest < 0.75


def test_light_comes_from_the_camera() -> None:
    made = Solids(parts=(Ball(radius=0.6, colour=COLOURS["green"]),), peak=2000.0)
    picture = show_scenes([made]).geometry[0, 3, 0]
    # cos between the normal and the way back, by hand: at the middle 1, lower further out.
    x = (torch.arange(64) + 0.5 - 32) / 32 * TAN
    sine = 2.2 / 0.6 * x.abs() / (1 + x.square()).sqrt()
    incidence = torch.where(sine < 1, torch.asin(sine.clamp(max=1)), torch.nan)
    expected = 0.3 + 0.7 * incidence.cos()
    row = 0.5 * (picture[31] + picture[32])
    inner = sine < 0.9
    torch.testing.assert_close(row[inner], expected[inner], atol=0.04, rtol=0)


def test_the_eight_cameras_go_round() -> None:
    side = Ball(centre=(0.0, 0.5, 0.0), radius=0.25, colour=COLOURS["red"])
    seen = show_scenes([Solids(parts=(side,), peak=2000.0)])
    columns = torch.arange(64).float()
    covered = (seen.colour[0] - behind()).abs().amax(dim=1) > 0.1
    centre = (covered * columns).sum(dim=(1, 2)) / covered.sum(dim=(1, 2))
    # +Y is at the right of the front view, in the middle from the sides, at the left of the back.
    assert float(centre[0]) > 40
    assert abs(float(centre[2]) - 31.5) < 2
    assert float(centre[4]) < 23
    assert abs(float(centre[6]) - 31.5) < 2


def test_a_stage_may_be_larger_and_further_away() -> None:
    made = Solids(parts=(Ball(radius=0.5, colour=COLOURS["red"]),), peak=2000.0)
    found = show_scenes([made], stage.Stage(size=40, radius=4.0, fov_deg=20.0))
    assert found.colour.shape == found.geometry.shape == (1, 8, 3, 40, 40)
    covered = (found.colour[0, 0] - behind()).abs().amax(dim=0) > 0.1
    # A disc of radius tan(asin(.5 / 4)) at distance 1, where the picture is 2 tan(10 degrees) wide.
    across = math.tan(math.asin(0.5 / 4.0)) / math.tan(math.radians(10.0))
    assert float(covered.float().mean()) == pytest.approx(math.pi / 4 * across**2, rel=0.05)


def test_what_came_to_nothing_is_background() -> None:
    made = Solids(parts=(Ball(radius=0.5, colour=COLOURS["red"]),))
    found = show_scenes([None, made])
    assert found.is_there.tolist() == [False, True]
    torch.testing.assert_close(found.colour[0], behind().expand(8, 3, 64, 64))
    torch.testing.assert_close(found.geometry[0], behind().expand(8, 3, 64, 64))
    assert float((found.colour[1] - behind()).abs().max()) > 0.3


def test_the_stage_is_as_it_was_agreed() -> None:
    assert tuple(45.0 * k for k in range(8)) == stage.AZIMUTHS_DEG
    assert (stage.ELEVATION_DEG, stage.RADIUS, stage.FOV_Y_DEG, stage.SIZE) == (30, 2.2, 45, 64)
