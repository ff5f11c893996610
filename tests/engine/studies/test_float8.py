import itertools
import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from engine.configs.distillation import DistillationConfig
from engine.evaluation import trials
from engine.evaluation.judge import Judge
from engine.guidance.pixel import PixelGuidance
from engine.studies import float8, gradients
from tests.engine.fakes import RecordingGuidance
from tests.engine.studies.fakes import MeanColourJudge, show_centres


def e4m3() -> list[float]:
    """Every number of the format: four bits of exponent, biased by 7, and three of mantissa; the
    highest pattern is no number."""
    found = []
    for exponent, mantissa in itertools.product(range(16), range(8)):
        if (exponent, mantissa) != (15, 7):
            whole = mantissa / 8 + (exponent > 0)
            found.append(whole * 2.0 ** (max(exponent, 1) - 7))
    return sorted({sign * value for value in found for sign in (-1.0, 1.0)})


@given(
    st.lists(
        st.floats(-1e4, 1e4, width=32, allow_subnormal=False).filter(
            lambda x: x == 0.0 or abs(x) > 1e-6
        ),
        min_size=1,
        max_size=20,
    )
)
def test_a_row_is_rounded_to_the_nearest_after_its_largest_is_scaled(values: list[float]) -> None:
    x = torch.tensor([values])
    found = float8.to_float8(x)[0].tolist()
    scale = max(map(abs, values)) / 448.0
    for value, got in zip(values, found, strict=True):
        distance = min(abs(value - scale * number) for number in e4m3()) if scale else 0.0
        assert abs(value - got) == pytest.approx(distance, rel=1e-3, abs=1e-6 * max(scale, 1e-30))


def test_rows_have_scales_of_their_own() -> None:
    x = torch.randn(3, 4, 5)
    apart = torch.cat([float8.to_float8(row[None]) for row in x])
    torch.testing.assert_close(float8.to_float8(x), apart, rtol=0, atol=0)
    assert not torch.equal(apart, x)


def test_only_layers_of_the_kinds_are_rounded_and_the_first_and_last_are_spared() -> None:
    net = nn.ModuleDict(
        {
            "conv_in": nn.Conv2d(1, 1, 1),
            "block": nn.ModuleDict({"conv1": nn.Conv2d(1, 1, 1), "to_q": nn.Linear(1, 1)}),
            "time_embedding": nn.Linear(1, 1),
            "conv_out": nn.Conv2d(1, 1, 1),
        }
    )

    def names(kinds: tuple[type[nn.Module], ...]) -> list[str]:
        modules = float8.rounded(net, kinds).named_modules()
        return [name for name, module in modules if isinstance(module, float8.Rounded)]

    assert names((nn.Linear,)) == ["block.to_q"]
    assert names((nn.Conv2d,)) == ["block.conv1"]
    assert names((nn.Linear, nn.Conv2d)) == ["block.conv1", "block.to_q"]
    assert not any(isinstance(module, float8.Rounded) for module in net.modules())


def test_a_layer_multiplies_rounded_numbers() -> None:
    layer = nn.Linear(3, 2)
    x, weight = torch.randn(4, 3), layer.weight.detach().clone()
    expected = float8.to_float8(x) @ float8.to_float8(weight).T + layer.bias
    torch.testing.assert_close(float8.Rounded(layer)(x), expected)


def test_cosines_are_those_of_the_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "TIMES", (0.2, 0.8))
    x = torch.rand(2, 3, 3, 8, 8)
    text = torch.randn(2, 3, 4, 5)

    class Turned(RecordingGuidance):
        """Its noise is the other's with the opposite sign, and so much more."""

        def predict_noise(
            self, z_t: torch.Tensor, t: torch.Tensor, text: torch.Tensor
        ) -> torch.Tensor:
            return -super().predict_noise(z_t, t, text) + 1e3

    same, turned = RecordingGuidance(), Turned()
    config = DistillationConfig()
    found = float8.cosines(same, {"same": same, "turned": turned}, x, text, 0.0 * text, config)
    assert found["same"] == pytest.approx([1.0, 1.0])
    assert max(found["turned"]) < 0.9
    head, _, first, second = float8.table(found).splitlines()
    assert head == "|  | t = 0.2 | t = 0.8 | mean |"
    assert first == "| same | 1.0000 | 1.0000 | 1.0000 |"
    mean = sum(found["turned"]) / 2
    assert second.endswith(f"| {mean:.4f} |")


def test_the_command_writes_results_and_a_table(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Judge, "load", lambda *_: MeanColourJudge())
    monkeypatch.setattr(trials, "show_scenes", show_centres)
    monkeypatch.setattr(gradients, "TIMES", (0.6,))
    monkeypatch.setattr(PixelGuidance, "_faster_dtype", lambda _: torch.float32)
    words = ["--recipe", "smoke", "--prompts", "1", "--guidance", str(tiny_weights)]
    float8.main([*words, "--out", str(tmp_path)])
    results = json.loads((tmp_path / "results.json").read_text())
    ways = ["bfloat16", "dense layers in fp8", "convolutions in fp8", "both in fp8"]
    assert list(results["cosines"]) == ways
    assert all(math.isfinite(value) for values in results["cosines"].values() for value in values)
    # Rounding was reached, and is coarser than bfloat16's.
    bf16, dense, convolutions, _ = (results["cosines"][way][0] for way in ways)
    assert max(dense, convolutions) < 1.0 - 1e-6
    assert convolutions < bf16 < 1.0
    assert (tmp_path / "table.md").read_text().startswith("|  | t = 0.6 | mean |\n")
