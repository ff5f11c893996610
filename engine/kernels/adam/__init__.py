"""Adam's step on one stacked parameter, in place (Kingma and Ba, arXiv 1412.6980, algorithm 1)."""

from jaxtyping import Bool, Float
from torch import Tensor

from engine import kernels
from engine.kernels.adam import reference

__all__ = ["adam"]


def adam(
    p: Float[Tensor, "S ..."],
    gradient: Float[Tensor, "S ..."],
    first: Float[Tensor, "S ..."],
    second: Float[Tensor, "S ..."],
    rate: Float[Tensor, "S"],
    correction: Float[Tensor, "S"],
    is_active: Bool[Tensor, "S"],
    *,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """m += (1 - b1) (g - m), v += (1 - b2) (g^2 - v), p -= rate m / (sqrt(v) / correction + eps).

    `rate` has the correction of m in it, `correction` is sqrt(1 - b2^t). The gradient of a scene
    that is not active counts as 0, whatever it is.
    """
    if not kernels.is_fused(p):
        return reference.adam(
            p, gradient, first, second, rate, correction, is_active, betas=betas, eps=eps
        )
    from engine.kernels.adam import fused

    return fused.adam(p, gradient, first, second, rate, correction, is_active, betas=betas, eps=eps)
