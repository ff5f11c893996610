"""Normals of a field that is a function of the point: analytic, or by differences of density.

n = -grad sigma / |grad sigma|. Both can be trained through; the analytic ones by differentiating
twice, the others at the price of six more densities.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from engine.configs.fields import Normals
from engine.fields.field import Samples, outward


def with_normals(
    evaluate: Callable[[Tensor], Samples], x: Float[Tensor, "S P 3"], method: Normals, step: float
) -> Samples:
    """What `evaluate` says at the points, and normals; `step` is that of the differences."""
    if method == "differences":
        samples = evaluate(x)
        return replace(samples, normal=outward(_differences(evaluate, x, step)))
    trains = torch.is_grad_enabled()
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        samples = evaluate(x)
        (gradient,) = torch.autograd.grad(
            samples.sigma.sum(), x, create_graph=trains, retain_graph=trains
        )
    if not trains:
        samples = Samples(samples.sigma.detach(), samples.albedo.detach(), None)
    return replace(samples, normal=outward(gradient))


def _differences(
    evaluate: Callable[[Tensor], Samples], x: Float[Tensor, "S P 3"], step: float
) -> Float[Tensor, "S P 3"]:
    """(sigma(x + step e_i) - sigma(x - step e_i)) / (2 step) along each axis i."""
    axes = step * torch.eye(3, dtype=x.dtype, device=x.device)
    around = x[:, :, None] + torch.cat([axes, -axes])
    sigma = evaluate(around.flatten(1, 2)).sigma.unflatten(1, (-1, 6))
    return (sigma[..., :3] - sigma[..., 3:]) / (2.0 * step)
