import numpy as np
import pytest
import torch

from engine.shading import lambertian


def naive_colour(
    albedo: np.ndarray,
    normal: np.ndarray,
    x: np.ndarray,
    light: np.ndarray,
    ambient: np.ndarray,
    diffuse: np.ndarray,
    is_textureless: np.ndarray,
) -> np.ndarray:
    towards = (light - x) / np.linalg.norm(light - x)
    rho = np.ones(3) if is_textureless else albedo
    return rho * (ambient + diffuse * max(0.0, float(normal @ towards)))


@pytest.mark.parametrize("shape", [(1,), (7,), (2, 5), (3, 1, 11)], ids=str)
def test_colour_matches_a_loop(shape: tuple[int, ...]) -> None:
    normal = torch.nn.functional.normalize(torch.randn(*shape, 3), dim=-1)
    arguments = {
        "albedo": torch.rand(*shape, 3),
        "normal": normal,
        "x": torch.rand(*shape, 3) - 0.5,
        "light": torch.randn(*shape, 3) * 2,
        "ambient": torch.rand(shape),
        "diffuse": torch.rand(shape),
        "is_textureless": (torch.rand(shape) < 0.5).float(),
    }
    actual = lambertian(**arguments)
    for index in np.ndindex(shape):
        one = {name: value[index].double().numpy() for name, value in arguments.items()}
        np.testing.assert_allclose(actual[index].numpy(), naive_colour(**one), rtol=1e-4, atol=1e-6)


def test_albedo_alone_ignores_light_and_normal() -> None:
    albedo, nothing = torch.rand(4, 3), torch.zeros(4)
    colour = lambertian(
        albedo,
        torch.randn(4, 3),
        torch.zeros(4, 3),
        torch.randn(4, 3),
        nothing + 1,
        nothing,
        nothing,
    )
    assert torch.equal(colour, albedo)


@pytest.mark.parametrize(("z", "expected"), [(2.0, 0.3 + 0.7), (-2.0, 0.3)])
def test_a_surface_is_lit_from_its_front_only(z: float, expected: float) -> None:
    one = torch.ones(1)
    colour = lambertian(
        torch.zeros(1, 3),
        torch.tensor([[0.0, 0, 1]]),
        torch.zeros(1, 3),
        torch.tensor([[0.0, 0, z]]),
        0.3 * one,
        0.7 * one,
        one,
    )
    torch.testing.assert_close(colour, torch.full((1, 3), expected))


def test_gradients_reach_albedo_and_normal() -> None:
    albedo = torch.rand(5, 3, dtype=torch.float64, requires_grad=True)
    normal = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    x, light = torch.rand(2, 5, 3, dtype=torch.float64)
    half = torch.full((5,), 0.5, dtype=torch.float64)
    white = torch.tensor([0.0, 1, 0, 1, 0], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda a, n: lambertian(a, n, x, light + 2, half, half, white), (albedo, normal)
    )
