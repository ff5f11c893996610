"""Two ways to compute the same, side by side: values and gradients by name."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Op = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


def values_and_gradients(
    op: Op, inputs: Mapping[str, Tensor], slopes_to: Sequence[str], cotangents: Sequence[Tensor]
) -> dict[str, Tensor]:
    """Outputs of `op`, and `d_<name>` for each of the named inputs."""
    own = {n: v.detach().requires_grad_(n in slopes_to) for n, v in inputs.items()}
    outputs = op(own)
    given = [g.to(v) for g, v in zip(cotangents, outputs.values(), strict=True)]
    slopes = torch.autograd.grad(list(outputs.values()), [own[name] for name in slopes_to], given)
    found = {name: value.detach() for name, value in outputs.items()}
    return found | {f"d_{name}": g for name, g in zip(slopes_to, slopes, strict=True)}


def forward(op: Op, inputs: Mapping[str, Tensor]) -> Callable[[], object]:
    """The op without a graph."""

    def run() -> object:
        with torch.no_grad():
            return op(inputs)

    return run


def backward(
    op: Op, inputs: Mapping[str, Tensor], slopes_to: Sequence[str]
) -> Callable[[], object]:
    """The gradient alone; the graph is made once, here."""
    own = {n: v.detach().requires_grad_(n in slopes_to) for n, v in inputs.items()}
    outputs = list(op(own).values())
    cotangents = [torch.randn_like(v) for v in outputs]
    leaves = [own[name] for name in slopes_to]
    return lambda: torch.autograd.grad(outputs, leaves, cotangents, retain_graph=True)
