import json
from pathlib import Path

import pytest
import torch

from engine.bench import __main__ as program
from engine.bench import ops
from engine.bench.comparing import backward, forward, values_and_gradients
from engine.bench.gate import GateError
from engine.kernels.mip_mlp import Weights

pytest.importorskip("triton", reason="needs Triton: pip install 'dreambatch[kernels]'")
on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here, and would be timed")

PARTS = {
    "composite": {"forward", "backward", "forward in torch", "backward in torch"},
    "dense_encode": {
        "forward",
        "backward grids",
        "forward in torch",
        "backward grids in torch",
    },
    "field": {"forward", "both ways", "forward in torch", "both ways in torch"},
    "group_norm": {"forward", "backward", "forward in torch", "backward in torch"},
    "march": {"march", "march in torch"},
    "mip_mlp": {"forward", "backward", "forward in torch", "backward in torch"},
    "mlp": {"forward", "backward"},
}
GATED = {
    "composite": {"weights", "opacity", "colour", "d_sigma", "d_colour"},
    "dense_encode": {"values", "d_x", "d_grid2", "d_grid5"},
    "field": {"sigma", "albedo", "normal", *(f"d_{n}" for n in ("tables", "w0", "b0", "w1", "b1"))},
    "group_norm": {
        f"{name} {dtype}" for name in ("y", "d_x") for dtype in (torch.bfloat16, torch.float16)
    },
    "march": {"distance", "delta", "rays"},
    "mip_mlp": {"raw", "slope", *(f"d_{name}" for name in Weights._fields)},
    "mlp": {
        f"{name} {dtype}"
        for name in ("outputs", "d_x", "d_w0", "d_b0", "d_w1", "d_b1")
        for dtype in (torch.float16, torch.float32)
    },
}


@on_cpu
@pytest.mark.parametrize("name", PARTS)
def test_an_op_runs_in_the_interpreter(name: str, tmp_path: Path) -> None:
    assert program.main([name, "--out", str(tmp_path), "--commit", "abc"]) == 0
    found = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
    assert {line["part"] for line in found} == PARTS[name]
    assert set(found[0]["errors"]) == GATED[name]
    assert all(line["milliseconds"] is None and line["num_bytes"] > 0 for line in found)


@on_cpu
@pytest.mark.parametrize(
    ("name", "kernel"),
    [
        ("composite", "composite.fused._Composite"),
        ("dense_encode", "dense_encode.fused._Encode"),
        ("mip_mlp", "mip_mlp.fused._MipMlp"),
        ("mlp", "mlp.fused._Mlp"),
    ],
)
def test_the_gate_sees_a_gradient_that_is_off(
    name: str, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, owner = kernel.rsplit(".", 1)
    function = getattr(__import__(f"engine.kernels.{module}", fromlist=[owner]), owner)
    right = function.backward

    def wrong(ctx, *slopes):
        return tuple(None if g is None else 1.02 * g for g in right(ctx, *slopes))

    monkeypatch.setattr(function, "backward", staticmethod(wrong))
    with pytest.raises(GateError, match=r"d_\w+.*: relative error 2.0e-02"):
        ops.load(name).check(torch.device("cpu"), is_tiny=True)


def test_values_and_gradients_are_named() -> None:
    inputs = {"a": torch.tensor([2.0, 3.0]), "b": torch.tensor([5.0, 7.0])}

    def product(own):
        return {"y": own["a"] * own["b"], "z": own["a"] ** 2}

    g = [torch.tensor([1.0, 10.0]), torch.tensor([0.0, 1.0])]
    found = values_and_gradients(product, inputs, ["a"], g)
    assert {name: v.tolist() for name, v in found.items()} == {
        "y": [10.0, 21.0],
        "z": [4.0, 9.0],
        "d_a": [5.0, 76.0],
    }
    assert not forward(product, inputs)()["y"].requires_grad  # pyright: ignore
    run = backward(product, inputs, ["b", "a"])
    first, again = run(), run()
    assert len(first) == 2  # pyright: ignore
    assert torch.equal(first[0], again[0])  # pyright: ignore
