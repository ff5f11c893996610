import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor

from engine import kernels
from engine.bench import __main__ as program
from engine.bench import flops, shapes, step, step_gate
from engine.bench.activity import summed
from engine.bench.gate import GateError
from engine.bench.rows import StepRow
from engine.bench.shapes import Parts
from engine.bench.subjects import Subject, late
from engine.configs.fields import HashGridConfig
from engine.gang import Gang
from engine.recipes import get
from tests.engine.fakes import DiscGuidance
from tests.engine.test_gang import recipe, request

on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here, and would be timed")


def filled(guidance: DiscGuidance) -> Gang:
    gang = Gang(replace(recipe(), iterations=50), guidance, num_slots=2)
    for key in "ab":
        gang.add(request(key))
    return gang


def test_the_gate_holds_gangs_that_do_the_same_from_the_state_of_the_first() -> None:
    fast, plain, exact = (filled(DiscGuidance()) for _ in range(3))
    for _ in range(3):
        fast.step()
    errors = step_gate.hold(fast, plain, exact)
    assert set(errors) == {"grid4", "grid9"}
    assert all(abs(error) < 1e-12 for error in errors.values())
    for name, t in fast.state().items():
        assert torch.equal(plain.state()[name], t), name
        assert torch.equal(exact.state()[name], t), name


def test_a_gradient_is_read_whatever_the_moments_are() -> None:
    one, other = filled(DiscGuidance()), filled(DiscGuidance())
    for gang in (one, other):
        gang.step()
    for name, moment in one.state().items():
        if name.startswith("first "):
            moment.fill_(1e9)
    found, expected = step_gate.stepped(one), step_gate.stepped(other)
    beta, _ = one.recipe.optimiser.betas
    for name, gradient in expected.items():
        assert torch.equal(found[name], gradient), name
        assert gradient.norm() > 0
        torch.testing.assert_close(
            one.state()[f"first {name}"], torch.full_like(gradient, beta * 1e9)
        )


class Rounded(DiscGuidance):
    """Noise that is off by some of its own size, every time by as much."""

    def __init__(self, size: float, seed: int) -> None:
        super().__init__()
        self._size, self._seed = size, seed

    def predict_noise(self, z_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
        found = super().predict_noise(z_t, t, text)
        draw = torch.randn(found.shape, generator=torch.Generator().manual_seed(self._seed))
        return found + self._size * found.std() * draw


def test_the_gate_allows_for_the_rounding_of_a_plain_gang_and_for_no_more() -> None:
    exact = filled(DiscGuidance())
    errors = step_gate.hold(filled(Rounded(0.25, 1)), filled(Rounded(0.25, 2)), exact)
    assert max(errors.values()) > step_gate.ALWAYS_FINE
    with pytest.raises(GateError, match="a plain gang by"):
        step_gate.hold(filled(Rounded(0.25, 1)), filled(Rounded(0.03, 2)), exact)
    with pytest.raises(GateError, match=r"at most 0\.05"):
        step_gate.hold(filled(Rounded(2.0, 1)), filled(Rounded(2.0, 2)), exact)


@pytest.mark.parametrize("factor", [-1.0, 0.0, float("nan")])
def test_the_gate_sees_another_gradient(factor: float) -> None:
    class Wrong(DiscGuidance):
        def predict_noise(self, z_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
            return factor * super().predict_noise(z_t, t, text)

    fast = filled(Wrong())
    fast.step()
    with pytest.raises(GateError, match="gradient of"):
        step_gate.hold(fast, filled(DiscGuidance()), filled(DiscGuidance()))


def test_kernels_are_held_off_within_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "is_wanted", lambda: True)
    monkeypatch.setattr(kernels, "has_triton", lambda: True)
    device = torch.device("cuda")
    assert kernels.is_fused_on(device)
    with kernels.held_off():
        assert not kernels.is_fused_on(device)
    assert kernels.is_fused_on(device)


def test_calls_are_counted_by_the_step() -> None:
    counts = {
        "cudaLaunchKernel": 10,
        "cudaLaunchKernelExC": 4,
        "cuLaunchKernelEx": 6,
        "cudaGraphLaunch": 8,
        "cudaStreamSynchronize": 1,
        "cudaDeviceSynchronize": 0,
        "Memcpy DtoH (Device -> Pageable)": 2,
        "cudaMemcpyAsync": 9,
        "aten::add": 99,
    }
    found = summed(counts, {"gemm": 3000.0, "add": 1000.0}, 2)
    assert (found.launches, found.graph_launches) == (10.0, 4.0)
    assert (found.synchronisations, found.fetches) == (0.5, 1.0)
    assert found.busy_ms == 2.0
    assert list(found.kernels_ms.items()) == [("gemm", 1.5), ("add", 0.5)]


def test_kernels_whose_names_differ_far_behind_are_one() -> None:
    name = "k" * 200
    found = summed({}, {name + "a": 1000.0, name + "b": 2000.0, "other": 2500.0}, 1)
    assert list(found.kernels_ms.values()) == [3.0, 2.5]


def test_a_recipe_late_in_its_run_is_whole() -> None:
    r = late(get("dreamfusion_if"), 1, is_still=True)
    assert (r.views, r.shading.albedo_until, r.optimiser.lr) == (1, 0.0, (1e-9, 1e-9))
    assert r.field.start_level == 0  # pyright: ignore[reportAttributeAccessIssue]
    moving = late(get("primitives"), None, is_still=False)
    assert (moving.views, moving.optimiser) == (4, get("primitives").optimiser)


def test_gradients_reach_every_part_of_a_still_scene_s_network() -> None:
    field = HashGridConfig(num_levels=2, log2_size=6, base_resolution=2, finest_resolution=4)
    r = late(replace(recipe(), field=field), 1, is_still=True)
    parts = Parts(unet=None, scheduler=DDPMScheduler())
    found = {}
    for model in ("if", "primitives"):
        asked = Subject(model=model, recipe=r, parts=parts, requests=[request("a"), request("b")])
        gang = asked.filled(DiscGuidance(), 2, capture=False)
        begun = gang.state()["parameter w1"].abs().amax()
        found[model] = (float(begun), step_gate.stepped(gang)["tables"].abs().amax())
    assert found["primitives"] == (0.0, 0.0)
    begun, slope = found["if"]
    assert 0.01 < begun < 0.02
    assert slope > 1e-6


def row(**changes: Any) -> StepRow:
    figures = {
        "part": "sd",
        "setting": "dreamfusion_sd S=4 V=2",
        "device": "H",
        "versions": {},
        "commit": "abc",
        "slots": 4,
        "views": 2,
        "samples": 64,
        "occupied": 0.5,
        "errors": {},
        "parts_ms": {"unet": 100.0, "vae": 200.0, "field": 5.0, "other": 1.0},
        "device_ms": 306.0,
        "wall_ms": 310.0,
        "scene_ms": 77.5,
        "beside_unet": 2.06,
        "unet_share": 0.7,
        "matmul_rate": 6e14,
        "activity": dict.fromkeys(("launches", "graph_launches", "synchronisations"), 0.0)
        | {"fetches": 0.0, "busy_ms": 300.0},
    }
    return StepRow(**(figures | changes))


def test_the_encoder_s_arithmetic_is_that_of_a_picture_a_view() -> None:
    parts = Parts(
        unet=shapes.meta_unet(shapes.SD_UNET),
        scheduler=DDPMScheduler(),
        vae=shapes.meta_vae(shapes.SD_VAE),
    )
    asked = Subject(model="sd", recipe=get("dreamfusion_sd"), parts=parts, requests=[])
    found = step.with_encoder(row(), asked, {"vae": 200.0}, 6e14)
    forward, gradient = flops.encoder_flops(shapes.SD_VAE, 512)
    assert found.vae_flops == {"forward": 8 * forward, "gradient": 8 * gradient}
    assert found.vae_share == pytest.approx(8 * 2.27e12 / 0.2 / 6e14, rel=0.05)
    assert "; VAE at 15.1%, U-Net at 70.0% of 600 TFLOP/s;" in step.told(found)
    pixels = replace(asked, parts=replace(parts, vae=None))
    assert step.with_encoder(row(), pixels, {}, 6e14) == row()
    assert "VAE" not in step.told(row())


@on_cpu
def test_a_step_is_compared_but_not_timed_without_a_gpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["step", "--model", "primitives", "--recipe", "smoke", "--slots", "1,2"]
    more = ["--warm", "4", "--out", str(tmp_path), "--commit", "abc"]
    assert program.main([*words, *more]) == 0
    found = [json.loads(line) for line in (tmp_path / "step.jsonl").read_text().splitlines()]
    assert [line["setting"] for line in found] == [
        "smoke S=1 V=1",
        "smoke S=2 V=1",
    ]
    for line in found:
        assert (line["op"], line["part"], line["commit"]) == ("step", "primitives", "abc")
        assert set(line["errors"]) == {"grid4", "grid16"}
        assert 0 < line["occupied"] < 1
        assert line["parts_ms"] is line["wall_ms"] is line["matmul_rate"] is None
    said = capsys.readouterr().out
    assert "not timed" in said
    assert " ms " not in said


@on_cpu
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--slots", "two"], "--slots: expected 1,2,4 or so, or auto, got 'two'"),
        (["--slots", "0"], "--slots: expected 1,2,4 or so"),
        (["--warm", "2"], "expected --warm of 4 or more"),
        (["--recipe", "none_such"], "unknown recipe 'none_such'"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        program.main(["step", "--model", "primitives", "--out", str(tmp_path), *words])
    assert expected in capsys.readouterr().err


@pytest.mark.gpu
def test_a_captured_step_is_timed(tmp_path: Path) -> None:
    words = ["step", "--model", "primitives", "--slots", "2", "--eager", "--repeats", "10"]
    assert program.main([*words, "--out", str(tmp_path)]) == 0
    (line,) = (json.loads(text) for text in (tmp_path / "step.jsonl").read_text().splitlines())
    assert line["graphs"] > 0
    # For a step long past: see `engine.leash`.
    assert line["activity"]["synchronisations"] <= 1
    assert set(line["parts_ms"]) == {"unet", "field", "other"}
