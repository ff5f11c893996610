import pytest
import torch

from engine import fields
from engine.configs.fields import DenseGridConfig, FieldConfig, HashGridConfig
from engine.scene import Scene

CONFIGS = [
    DenseGridConfig(resolutions=(3, 6), density_gain=2.0, blob_density=7.0),
    HashGridConfig(num_levels=2, log2_size=6, base_resolution=2, finest_resolution=7, hidden=4),
]


def scene(config: FieldConfig) -> tuple[Scene, fields.Field, fields.Parameters]:
    field = fields.build(config)
    parameters = {
        name: p + 0.5 * torch.randn_like(p) for name, p in field.initial(torch.tensor([3])).items()
    }
    return Scene(config, parameters), field, parameters


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.kind)
@pytest.mark.parametrize("num_points", [1, 13])
def test_a_scene_answers_as_its_field_does(config: FieldConfig, num_points: int) -> None:
    frozen, field, parameters = scene(config)
    x = torch.rand(num_points, 3) * 2 - 1
    expected = field.query(parameters, x[None], with_normal=False)
    torch.testing.assert_close(frozen.density(x), expected.sigma[0])
    torch.testing.assert_close(frozen.albedo(x), expected.albedo[0])
    assert frozen.device == torch.device("cpu")


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.kind)
def test_a_scene_keeps_no_gradients(config: FieldConfig) -> None:
    _, _, parameters = scene(config)
    frozen = Scene(config, {name: p.requires_grad_() for name, p in parameters.items()})
    x = torch.rand(4, 3)
    assert not frozen.density(x).requires_grad
    assert not frozen.albedo(x).requires_grad


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.kind)
def test_a_scene_survives_its_bytes_in_half_precision(config: FieldConfig) -> None:
    frozen, field, parameters = scene(config)
    data = frozen.to_bytes()
    again = Scene.from_bytes(data)
    x = torch.rand(50, 3) * 2 - 1
    rounded = {name: p.half().float() for name, p in parameters.items()}
    exact = field.query(rounded, x[None], with_normal=False)
    torch.testing.assert_close(again.density(x), exact.sigma[0])
    torch.testing.assert_close(again.albedo(x), exact.albedo[0])
    torch.testing.assert_close(again.density(x), frozen.density(x), rtol=0.05, atol=0.05)
    assert again.to_bytes() == data
    num_bytes = sum(2 * p.numel() for p in parameters.values())
    assert num_bytes < len(data) < num_bytes + 1500


def test_to_moves_a_scene() -> None:
    frozen, _, _ = scene(CONFIGS[0])
    x = torch.rand(3, 3)
    assert torch.equal(frozen.to("cpu").density(x), frozen.density(x))
