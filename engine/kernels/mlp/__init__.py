"""A network of one hidden layer, with weights of its own for each scene, in one pass each way."""

import torch
from jaxtyping import Float
from torch import Tensor

from engine import kernels
from engine.kernels.mlp import reference

__all__ = ["mlp"]


def mlp(
    x: Float[Tensor, "S P F"],
    w0: Float[Tensor, "S F H"],
    b0: Float[Tensor, "S 1 H"],
    w1: Float[Tensor, "S H D"],
    b1: Float[Tensor, "S 1 D"],
) -> Float[Tensor, "S P D"]:
    """relu(x w0 + b0) w1 + b1, for each scene its own.

    Products are formed in the precision of x (bfloat16, float16 or float32), sums, results and the
    gradients of weights in float32. In float16 a cotangent below 6e-8 counts for nothing; bfloat16
    has no such floor. The kernels hold all weights of a scene at once: some 64 features and units.

    Differentiable once, and of its gradient to x alone a second time, as analytic normals need it.
    float64 is left to the reference, which is differentiable without end.
    """
    if not kernels.is_fused(x) or x.dtype == torch.float64:
        return reference.mlp(x, w0, b0, w1, b1)
    from engine.kernels.mlp import fused

    return fused.mlp(x, w0, b0, w1, b1)
