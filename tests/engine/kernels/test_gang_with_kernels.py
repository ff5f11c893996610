"""A whole optimisation step with every kernel in its place, against the same with references."""

import sys
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from engine import kernels, recipes
from engine.configs.fields import DenseGridConfig, FieldConfig, HashGridConfig, MipMlpConfig
from engine.configs.losses import LossConfig
from engine.configs.march import MarchConfig
from engine.configs.shading import ShadingConfig
from engine.gang import Gang, SceneRequest
from engine.recipe import Recipe
from tests.engine.fakes import DiscGuidance
from tests.engine.kernels.checking import assert_close

DENSE = DenseGridConfig(resolutions=(3, 6), density_gain=3.0)
MIP = MipMlpConfig(num_frequencies=3, num_blocks=2, width=12)
OPS = {"dense_grid": {"dense_encode"}, "hash_grid": {"hash_encode", "mlp"}, "mip_mlp": {"mip_mlp"}}
HASH = HashGridConfig(num_levels=2, log2_size=6, base_resolution=2, finest_resolution=4, hidden=16)

ALBEDO, LIT = ShadingConfig(), ShadingConfig(shaded=1.0, albedo_until=0.0)


def recipe(field: FieldConfig, shading: ShadingConfig) -> Recipe:
    losses = LossConfig(opacity=1.0, entropy=(1.0, 1.0), total_variation=1.0, distortion=0.5)
    if shading.shaded:
        losses = replace(losses, orientation=(1.0, 1.0))
    return replace(
        recipes.get("smoke"),
        views=1,
        render_size=8,
        field=field,
        shading=shading,
        losses=losses,
        march=MarchConfig(num_samples=6, num_bins=12, grid_size=4, refresh=4),
    )


def gradients(r: Recipe) -> dict[str, Tensor]:
    """First moments after one step are the gradients, scaled; and the step's losses."""
    gang = Gang(r, DiscGuidance(), num_slots=2)
    for key in ("red", "blue"):
        gang.add(SceneRequest(key=key, prompt=f"a {key} disc", seed=len(key)))
    gang.step()
    found = {f"gradient of {name}": m.clone() for name, m in gang._moments.first.items()}
    return found | {name: loss.clone() for name, loss in gang._last_losses.items()}


@pytest.mark.parametrize(
    ("field", "shading"),
    [(DENSE, ALBEDO), (DENSE, LIT), (HASH, ALBEDO), (HASH, LIT), (MIP, LIT)],
    ids=["dense_grid-albedo", "dense_grid-lit", "hash_grid-albedo", "hash_grid-lit", "mip_mlp-lit"],
)
def test_a_step_s_gradients_are_the_same(
    field: FieldConfig,
    shading: ShadingConfig,
    device: torch.device,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if device.type != "cpu":
        pytest.skip("a step in the interpreter; `pytest -m gpu` has the kernels at full size")
    # The interpreter has no products of bfloat16.
    monkeypatch.setattr("engine.kernels.mip_mlp.PRECISION", torch.float32)
    asked = set()

    def is_fused(x: Tensor) -> bool:
        asked.add(sys._getframe(1).f_globals["__name__"].rpartition(".")[2])
        return True

    monkeypatch.setattr(kernels, "is_fused", is_fused)
    actual = gradients(recipe(field, shading))
    assert asked >= {"march", "composite"} | OPS[field.kind]
    monkeypatch.setattr(kernels, "is_fused", lambda x: False)
    expected = gradients(recipe(field, shading))
    assert any(float(v.abs().max()) > 1e-3 for n, v in expected.items() if n.startswith("grad"))
    assert_close(actual, expected, 1e-3)
