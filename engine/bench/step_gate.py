"""The gate of a step: a gang at full speed moves its scenes as a plain one does."""

import torch
from torch import Tensor

from engine import kernels
from engine.bench.gate import GateError
from engine.gang import Gang
from engine.health import Verdict

LEAST_COSINE = 0.999


def hold(fast: Gang, plain: Gang) -> dict[str, float]:
    """1 - cosine of each parameter's gradients, of one step from the fast gang's state.

    Both hold the same scenes; afterwards both have gone one step on. Kernels are off in the plain
    one's. Raises GateError where a cosine is too small, or no number, or a scene has failed.
    """
    before = {name: t.clone() for name, t in fast.state().items()}
    for name, t in plain.state().items():
        t.copy_(before[name])
    fast.step()
    with kernels.held_off():
        plain.step()
    for gang in (fast, plain):
        if int((gang.state()["verdict"] != Verdict.OK).sum()):
            raise GateError(f"gradient of scenes that have failed: {gang.state()['verdict']}")
    errors = {}
    (beta, _) = fast.recipe.optimiser.betas
    for name, old in before.items():
        if not name.startswith("first "):
            continue
        # m' = beta m + (1 - beta) g
        gradients = [gang.state()[name] - beta * old for gang in (fast, plain)]
        what = name.removeprefix("first ")
        errors[what] = 1.0 - _cosine(*gradients)
        # Not >, which NaN would pass.
        if not errors[what] <= 1.0 - LEAST_COSINE:
            raise GateError(
                f"gradient of {what}: cosine {1.0 - errors[what]:.5f} to that of a plain gang, "
                f"at least {LEAST_COSINE}"
            )
    return errors


def _cosine(a: Tensor, b: Tensor) -> float:
    a, b = a.double().flatten(), b.double().flatten()
    sizes = float(a.norm()), float(b.norm())
    if sizes == (0.0, 0.0):
        return 1.0
    if 0.0 in sizes:
        return 0.0
    return float(torch.dot(a, b)) / (sizes[0] * sizes[1])
