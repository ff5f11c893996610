"""The gate of a step: a gang at full speed moves its scenes as an exact one does.

Exact are networks in float32 and no kernels. A U-Net in bf16 is off by its rounding, which guidance
multiplies by its weight, so that no cosine fits all models; how far a plain gang of the same
precision is off says how much of it is rounding. The fast one may be off by twice as much.

off = 1 - cosine of the gradients of one parameter, in one step from the same state
"""

import torch
from torch import Tensor

from engine import kernels
from engine.bench.gate import GateError
from engine.evaluation.manner import Manner
from engine.gang import Gang
from engine.health import Verdict

ALWAYS_FINE = 1e-3
"""Off by no more than this, a gang need not be compared with a plain one."""
NEVER_FINE = 0.05
"""Off by more than this, nothing could be told from a gang that is wrong."""
MOST_TIMES_PLAIN = 2.0


def hold(fast: Gang, plain: Gang, exact: Gang) -> dict[str, float]:
    """How far the fast gang is off, by parameter, in one step from its state.

    All hold the same scenes; afterwards all have gone one step on. Kernels are off in the others.
    Raises GateError where it is off too far, or by no number, or a scene has failed.
    """
    for other in (plain, exact):
        state = fast.state()
        for name, t in other.state().items():
            t.copy_(state[name])
    found = stepped(fast)
    with kernels.held_off():
        usual = stepped(plain)
    with Manner(is_exact=True).surroundings():
        true = stepped(exact)
    for gang in (fast, plain, exact):
        if int((gang.state()["verdict"] != Verdict.OK).sum()):
            raise GateError(f"gradient of scenes that have failed: {gang.state()['verdict']}")
    errors = {}
    for what, gradient in found.items():
        errors[what] = off(gradient, true[what])
        rounding = off(usual[what], true[what])
        most = most_off(rounding)
        # Not >, which NaN would pass.
        if not errors[what] <= most:
            raise GateError(
                f"gradient of {what}: off by {errors[what]:.2g} of an exact gang's, at most "
                f"{most:.2g}; a plain gang by {rounding:.2g}"
            )
    return errors


def stepped(gang: Gang) -> dict[str, Tensor]:
    """Makes a step; its gradients by parameter.

    They are read off first moments that begin at 0, because beside those of earlier steps a small
    gradient would be lost. Afterwards the moments are what they would have been.
    """
    beta, _ = gang.recipe.optimiser.betas
    moments = {name: t for name, t in gang.state().items() if name.startswith("first ")}
    old = {name: moment.clone() for name, moment in moments.items()}
    for moment in moments.values():
        moment.zero_()
    gang.step()
    found = {}
    for name, moment in moments.items():
        # m' = beta m + (1 - beta) g
        found[name.removeprefix("first ")] = moment / (1.0 - beta)
        moment.add_(old[name], alpha=beta)
    return found


def off(found: Tensor, true: Tensor) -> float:
    """1 - cosine."""
    return 1.0 - _cosine(found, true)


def most_off(rounding: float) -> float:
    """What is allowed where a plain gang of the same precision is off by `rounding`."""
    return max(ALWAYS_FINE, min(MOST_TIMES_PLAIN * rounding, NEVER_FINE))


def _cosine(a: Tensor, b: Tensor) -> float:
    a, b = a.double().flatten(), b.double().flatten()
    sizes = float(a.norm()), float(b.norm())
    if sizes == (0.0, 0.0):
        return 1.0
    if 0.0 in sizes:
        return 0.0
    return float(torch.dot(a, b)) / (sizes[0] * sizes[1])
