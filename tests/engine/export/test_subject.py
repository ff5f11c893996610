import torch

from engine.export.subject import POINTS_AT_ONCE, Subject, albedo_at, density_at
from engine.scene import Scene

from .subjects import Box, Solids, ball


def test_scene_is_a_subject():
    assert isinstance(ball(), Subject)
    names = ("bound", "radius", "device", "density", "albedo")
    assert all(hasattr(Scene, name) for name in names)


def test_density_is_zero_outside_the_ball():
    full = Solids(parts=(Box(half=(2.0, 2.0, 2.0)),))
    x = torch.tensor([[[0.0, 0.0, 0.99], [0.0, 0.0, 1.01]], [[0.7, 0.7, 0.7], [5.0, 0.0, 0.0]]])
    assert density_at(full, x).tolist() == [[500.0, 0.0], [0.0, 0.0]]


def test_a_ball_that_holds_the_cube_leaves_all_of_it():
    class Cube(Solids):
        @property
        def radius(self) -> float:
            return self.bound * 3**0.5

    parts = (Box(half=(2.0, 2.0, 2.0)),)
    x = torch.tensor([[1.4, 1.4, 1.4], [1.4, 0.0, 0.0], [1.6, 0.0, 0.0]])
    assert density_at(Cube(parts=parts, bound=1.5), x).tolist() == [500.0, 500.0, 0.0]
    assert density_at(Solids(parts=parts, bound=1.5), x).tolist() == [0.0, 500.0, 0.0]


def test_albedo_beyond_the_cube_is_that_of_the_nearest_point():
    scene = ball()
    x = torch.tensor([[0.0, 0.0, 3.0]])
    torch.testing.assert_close(albedo_at(scene, x), scene.albedo(x.clamp(-1, 1)))


def test_many_points_are_asked_for_in_turn():
    """The scene of the tests refuses more than `POINTS_AT_ONCE`."""
    scene = ball()
    x = torch.rand(POINTS_AT_ONCE + 7, 3) - 0.5
    torch.testing.assert_close(density_at(scene, x)[-9:], scene.density(x[-9:]))
    torch.testing.assert_close(albedo_at(scene, x)[-9:], scene.albedo(x[-9:]))


def test_an_empty_batch_is_answered_without_asking():
    scene = ball()
    assert density_at(scene, torch.zeros(0, 3)).shape == (0,)
    assert albedo_at(scene, torch.zeros(4, 0, 3)).shape == (4, 0, 3)
    assert scene.num_densities == 0
