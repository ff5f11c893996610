"""Adam's step: gate and cases, of a hash grid's tables and of a fine lattice."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from engine.bench.gate import hold
from engine.bench.ops import Case
from engine.kernels.adam import fused, reference

SHAPES = ((8, 12, 2**18, 2), (32, 4, 64, 64, 64))
BETAS, EPS = (0.9, 0.99), 1e-15


def check(device: torch.device, *, is_tiny: bool) -> dict[str, float]:
    """Parameters and both moments after a step."""
    state = _state((3, 5, 7) if is_tiny else (3, 1001, 333), device)
    found = []
    for op in (fused.adam, reference.adam):
        own = {name: t.clone() for name, t in state.items()}
        op(**own, betas=BETAS, eps=EPS)
        found.append({name: own[name] for name in ("p", "first", "second")})
    return hold(found[0], found[1], 1e-6)


def cases(device: torch.device, *, is_tiny: bool) -> Iterator[Case]:
    """Kernel and reference."""
    for shape in ((2, 21),) if is_tiny else SHAPES:
        state = _state(shape, device)
        count = state["p"].numel()
        for part, op in (("step", fused.adam), ("step in torch", reference.adam)):
            yield Case(
                part=part,
                setting="x".join(map(str, shape)),
                num_samples=count,
                num_bytes=28 * count,
                run=lambda op=op, state=state: op(**state, betas=BETAS, eps=EPS),
            )


def _state(shape: tuple[int, ...], device: torch.device) -> Mapping[str, Tensor]:
    tensors = {name: torch.randn(shape, device=device) for name in ("p", "gradient", "first")}
    ones = torch.ones(shape[0], device=device)
    return {
        **tensors,
        "second": torch.rand(shape, device=device),
        "rate": 0.01 * ones,
        "correction": 0.5 * ones,
        "is_active": ones > 0,
    }
