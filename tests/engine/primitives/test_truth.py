import pytest
import torch
from torch import Tensor

from engine.cameras import orbit, rays
from engine.primitives.grammar import COLOURS, Spec
from engine.primitives.kinds import NUM_PROPORTIONS
from engine.primitives.truth import FOV_Y_DEG, RADIUS, true_views

SIZE = 24
AROUND = torch.tensor([0.0, 90.0, 180.0, 270.0])
BALL = Spec("ball", ("green",))


def views(
    specs: list[Spec], *, textureless: bool = False, elevation: float = 20.0, u: float = 0.5
) -> Tensor:
    proportions = torch.full((len(specs), NUM_PROPORTIONS), u)
    return true_views(specs, proportions, AROUND, elevation, textureless=textureless, size=SIZE)


def shows(picture: Tensor, colour: str) -> int:
    """Covered pixels of one colour."""
    near = (picture[:3] - torch.tensor(COLOURS[colour])[:, None, None]).abs().amax(dim=0) < 0.01
    return int((near & (picture[3] == 1)).sum())


def test_a_ball_is_a_disc_of_its_own_colour_from_everywhere() -> None:
    found = views([BALL])
    assert found.shape == (1, 4, 4, SIZE, SIZE)
    # Of radius 0.62; a ray meets it where it passes the origin nearer than that.
    one = torch.ones(1)
    origin, way = rays(orbit(0 * one, 20 * one, RADIUS * one, FOV_Y_DEG * one, SIZE))
    passes = torch.linalg.cross(origin, way).norm(dim=-1)[0]
    for picture in found[0]:
        assert bool((picture[3][passes < 0.58] == 1).all())
        assert bool((picture[3][passes > 0.66] == 0).all())
        assert shows(picture, "green") == int((picture[3] == 1).sum())


def test_azimuths_are_in_their_order_from_the_front_on() -> None:
    (television,) = views([Spec("television", ("red", "blue"))])
    screen = [shows(picture, "blue") for picture in television]
    assert screen[0] > 50
    assert max(screen[1:]) == 0
    (pair,) = views([Spec("cube", ("red", "blue"), "next to", "ball")])
    columns = torch.arange(SIZE)
    for picture, side in ((pair[0], 1), (pair[2], -1)):
        # The first stands at the left, +Y, which is right in the front view.
        red = (picture[0] - picture[2]) * picture[3]
        assert side * float((red * (columns - SIZE / 2)).sum()) > 0
    # From the left the first hides the second.
    assert shows(pair[1], "red") > 3 * shows(pair[1], "blue")
    assert shows(pair[3], "blue") > 2 * shows(pair[3], "red")


def test_scenes_of_several_geometries_keep_their_places() -> None:
    specs = [BALL, Spec("cake", ("red", "white", "blue")), Spec("cone", ("pink",), count=3)]
    specs += [Spec("ball", ("black",)), Spec("cake", ("brown",))]
    proportions = torch.rand(len(specs), NUM_PROPORTIONS)
    together = true_views(specs, proportions, AROUND, 30.0, textureless=False, size=SIZE)
    for row, spec in enumerate(specs):
        u = proportions[row : row + 1]
        alone = true_views([spec], u, AROUND, 30.0, textureless=False, size=SIZE)
        torch.testing.assert_close(together[row : row + 1], alone)


def test_one_elevation_holds_for_all_views() -> None:
    high, low = (views([Spec("table", ("red", "blue"))], elevation=e)[0] for e in (85.0, 5.0))
    for above, level in zip(high, low, strict=True):
        # The board hides the legs from above, and is a line from the side.
        assert shows(above, "red") > 100
        assert shows(above, "blue") < shows(level, "blue")
        assert shows(level, "red") < 60


def test_a_textureless_picture_is_white_in_the_light_of_the_camera() -> None:
    first = views([BALL, Spec("car", ("red", "blue"))], textureless=True)
    other = views([Spec("ball", ("black",)), Spec("car", ("pink",))], textureless=True)
    assert torch.equal(first, other)
    assert bool((first[:, :, :1] == first[:, :, 1:3]).all())
    for picture in first[0]:
        middle = picture[0, SIZE // 2 - 1 : SIZE // 2 + 1, SIZE // 2 - 1 : SIZE // 2 + 1]
        # Facing the camera: all of ambient 0.3 and diffuse 0.7; at the rim little beyond ambient.
        assert float(middle.min()) > 0.98
        light = picture[0][picture[3] > 0]
        assert float(light.max()) <= 1
        assert 0.3 <= float(light.min()) < 0.55


def test_proportions_change_the_shape() -> None:
    small, large = (float(views([BALL], u=u)[0, 0, 3].sum()) for u in (0.0, 1.0))
    assert large / small == pytest.approx((0.72 / 0.52) ** 2, rel=0.15)
