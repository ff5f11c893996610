from dataclasses import replace

import pytest
import torch

from engine import fields
from engine.configs.fields import DenseGridConfig, FieldConfig, HashGridConfig, MipMlpConfig
from engine.fields import DenseGrid, Field, HashGrid, MipMlp
from engine.fields.field import blob, gaussian_blob, outward

DENSE = DenseGridConfig(resolutions=(3, 7))
HASH = HashGridConfig(
    num_levels=3, log2_size=7, base_resolution=2, finest_resolution=9, hidden=5, features=2
)
BANDS = replace(HASH, start_level=1, level_from=0.2, level_every=0.3)
DIFFERENCES = replace(HASH, normals="differences")
MIP = MipMlpConfig(num_frequencies=3, num_blocks=2, width=10)
CONFIGS = [DENSE, HASH, BANDS, DIFFERENCES, MIP]


def stir(field: Field, num_scenes: int, *, strength: float = 0.5) -> dict[str, torch.Tensor]:
    """Random parameters away from the initial ones."""
    parameters = field.initial(torch.arange(num_scenes))
    return {name: p + strength * torch.randn_like(p) for name, p in parameters.items()}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.kind)
def test_build_makes_the_field_that_the_configuration_names(config: FieldConfig) -> None:
    expected = {"dense_grid": DenseGrid, "hash_grid": HashGrid, "mip_mlp": MipMlp}[config.kind]
    field = fields.build(replace(config, bound=1.3))
    assert type(field) is expected
    assert field.bound == 1.3


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.kind)
@pytest.mark.parametrize("with_normal", [False, True])
def test_scenes_together_are_the_scenes_alone(config: FieldConfig, with_normal: bool) -> None:
    field = fields.build(config)
    parameters = stir(field, 3)
    x, part = torch.rand(3, 11, 3) * 2 - 1, torch.tensor([0.0, 0.3, 0.9])
    together = field.query(parameters, x, part, with_normal=with_normal)
    density = field.density(parameters, x, part)
    roughness = field.total_variation(parameters)
    for s in range(3):
        alone = {name: p[s : s + 1] for name, p in parameters.items()}
        single = field.query(alone, x[s : s + 1], part[s : s + 1], with_normal=with_normal)
        torch.testing.assert_close(together.sigma[s], single.sigma[0])
        torch.testing.assert_close(together.albedo[s], single.albedo[0])
        torch.testing.assert_close(density[s], single.sigma[0])
        torch.testing.assert_close(roughness[s], field.total_variation(alone)[0])
        if with_normal:
            assert together.normal is not None
            assert single.normal is not None
            torch.testing.assert_close(together.normal[s], single.normal[0])
        else:
            assert together.normal is None


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.kind)
def test_scenes_differ_by_their_parameters(config: FieldConfig) -> None:
    field = fields.build(config)
    x = (torch.rand(1, 9, 3) * 2 - 1).expand(2, -1, -1)
    samples = field.query(stir(field, 2), x, torch.ones(2), with_normal=False)
    assert not torch.allclose(samples.sigma[0], samples.sigma[1], atol=0.01)
    assert not torch.allclose(samples.albedo[0], samples.albedo[1], atol=0.01)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.kind)
def test_a_fresh_scene_is_a_grey_ball(config: FieldConfig) -> None:
    field = fields.build(config)
    x = torch.rand(2, 50, 3) * 2 - 1
    samples = field.query(
        field.initial(torch.tensor([4, 9])), x, torch.tensor([0.0, 1.0]), with_normal=False
    )
    if isinstance(config, MipMlpConfig):
        ball = 5.0 * torch.exp(-x.square().sum(-1) / (2 * 0.2**2))
        expected = torch.exp(ball - 1.0)
    else:
        bias = config.blob_density * (1 - x.norm(dim=-1) / config.blob_radius)
        expected = torch.log1p(torch.exp(bias))
    torch.testing.assert_close(samples.sigma, expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(samples.albedo, torch.full_like(x, 0.5), rtol=0, atol=1e-3)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.kind)
def test_a_fresh_ball_s_normals_point_away_from_its_centre(config: FieldConfig) -> None:
    field = fields.build(config)
    x = torch.nn.functional.normalize(torch.randn(1, 20, 3), dim=-1) * 0.5
    samples = field.query(field.initial(torch.tensor([1])), x, torch.zeros(1), with_normal=True)
    assert samples.normal is not None
    torch.testing.assert_close(samples.normal, 2 * x, rtol=0, atol=1e-2)


@pytest.mark.parametrize("config", [DENSE, HASH], ids=lambda c: c.kind)
def test_a_larger_bound_is_the_same_scene_enlarged(config: DenseGridConfig | HashGridConfig):
    small, large = (
        fields.build(replace(config, bound=bound, blob_radius=0.5 * bound)) for bound in (1.0, 1.6)
    )
    parameters, part = stir(small, 2), torch.ones(2)
    x = torch.rand(2, 20, 3) * 2 - 1
    one = small.query(parameters, x, part, with_normal=True)
    other = large.query(parameters, 1.6 * x, part, with_normal=True)
    torch.testing.assert_close(other.sigma, one.sigma, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(other.albedo, one.albedo, rtol=1e-4, atol=1e-5)
    assert one.normal is not None
    assert other.normal is not None
    # Where density is all but flat, normals fade.
    steep = other.normal.norm(dim=-1) > 0.999
    assert steep.sum() > 10
    torch.testing.assert_close(other.normal[steep], one.normal[steep], rtol=0, atol=2e-3)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.kind)
def test_a_field_looks_up_its_own_parameters(config: FieldConfig) -> None:
    field = fields.build(config)
    own, x, part = stir(field, 1), torch.rand(1, 5, 3), torch.ones(1)
    crowded = {"background.w0": torch.randn(1, 2, 3)} | own
    assert torch.equal(field.density(crowded, x, part), field.density(own, x, part))
    sigma = [field.query(p, x, part, with_normal=False).sigma for p in (crowded, own)]
    assert torch.equal(*sigma)
    assert torch.equal(field.total_variation(crowded), field.total_variation(own))


def test_the_gaussian_blob_is_a_gaussian() -> None:
    x = torch.tensor([[0.0, 0, 0], [0.3, 0, 0], [0, 0.3, 0.4]])
    expected = 5.0 * torch.tensor([1.0, 0.32465247, 0.04393693])
    torch.testing.assert_close(gaussian_blob(x, 5.0, 0.2), expected, rtol=1e-4, atol=1e-6)


def test_blob_falls_linearly_and_has_a_finite_gradient_at_the_origin() -> None:
    x = torch.tensor([[0.0, 0, 0], [0.25, 0, 0], [0, 0.3, 0.4], [0, 0, -1]], requires_grad=True)
    bias = blob(x, 10.0, 0.5)
    torch.testing.assert_close(bias, torch.tensor([10.0, 5.0, 0.0, -10.0]), rtol=0, atol=0.01)
    (gradient,) = torch.autograd.grad(bias.sum(), x)
    assert gradient.isfinite().all()
    torch.testing.assert_close(gradient[1], torch.tensor([-20.0, 0, 0]))


def test_outward_is_against_the_gradient_and_zero_where_it_is_flat() -> None:
    normal = outward(torch.tensor([[0.0, 3.0, 4.0], [0.0, 0.0, 0.0]]))
    torch.testing.assert_close(normal, torch.tensor([[0.0, -0.6, -0.8], [0.0, 0.0, 0.0]]))
