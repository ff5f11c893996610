import json
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import save

from engine import fields
from engine.configs.fields import DenseGridConfig, FieldConfig, HashGridConfig, MipMlpConfig
from engine.configs.march import Region
from engine.scene import Scene

CONFIGS = [
    DenseGridConfig(resolutions=(3, 6), density_gain=2.0, blob_density=7.0),
    HashGridConfig(num_levels=2, log2_size=6, base_resolution=2, finest_resolution=7, hidden=4),
    MipMlpConfig(num_frequencies=3, num_blocks=2, width=9, bound=1.4),
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
    expected = field.query(parameters, x[None], torch.ones(1), with_normal=False)
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
    exact = field.query(rounded, x[None], torch.ones(1), with_normal=False)
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


def test_a_scene_is_as_large_as_its_field_and_its_region() -> None:
    config = replace(CONFIGS[0], bound=1.5)
    parameters = fields.build(config).initial(torch.tensor([1]))
    regions: dict[Region, float] = {"sphere": 1.5, "cube": 1.5 * 3**0.5}
    for region, radius in regions.items():
        frozen = Scene(config, parameters, region=region)
        again = Scene.from_bytes(frozen.to("cpu").to_bytes())
        for one in (frozen, again):
            assert one.bound == 1.5
            assert one.radius == pytest.approx(radius)


def test_bytes_from_before_regions_are_of_the_ball() -> None:
    frozen, _, parameters = scene(CONFIGS[0])
    tensors = {name: p[0].half() for name, p in parameters.items()}
    config = {k: v for k, v in asdict(CONFIGS[0]).items() if k != "bound"}
    old = Scene.from_bytes(save(tensors, metadata={"field": json.dumps(config)}))
    assert (old.bound, old.radius) == (1.0, 1.0)
    x = torch.rand(5, 3)
    torch.testing.assert_close(old.albedo(x), frozen.albedo(x), rtol=0.01, atol=0.01)


def test_a_scene_shows_the_end_of_its_run_and_colours_within_bounds() -> None:
    config = replace(CONFIGS[1], start_level=1, level_from=0.9, level_every=0.05, albedo="shifted")
    field = fields.build(config)
    parameters = {n: 9 * torch.randn_like(p) for n, p in field.initial(torch.tensor([3])).items()}
    x = torch.rand(30, 3)
    frozen = Scene(config, parameters)
    samples = field.query(parameters, x[None], torch.ones(1), with_normal=False)
    torch.testing.assert_close(frozen.density(x), samples.sigma[0])
    assert float(samples.albedo.min()) < 0
    assert 0 <= float(frozen.albedo(x).min()) <= float(frozen.albedo(x).max()) <= 1


@pytest.mark.parametrize("data", [b"", b"fieldfieldfield", save({"x": torch.zeros(1)}), bytes(99)])
def test_bytes_of_something_else_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"expected a field as `Scene\.to_bytes` stores") as caught:
        Scene.from_bytes(data)
    assert "\n" not in str(caught.value)


def test_a_cut_field_is_refused() -> None:
    data = scene(CONFIGS[0])[0].to_bytes()
    with pytest.raises(ValueError, match="something else"):
        Scene.from_bytes(data[:-7])
