"""The parameters of the network, in the order in which they are passed."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class Weights(NamedTuple):
    """S scenes, F features, H units, B blocks, N = B - 1 norms, D outputs."""

    w_in: Float[Tensor, "S F H"]
    b_in: Float[Tensor, "S 1 H"]
    w1: Float[Tensor, "S B H H"]
    b1: Float[Tensor, "S B 1 H"]
    w2: Float[Tensor, "S B H H"]
    b2: Float[Tensor, "S B 1 H"]
    gain: Float[Tensor, "S N 1 H"]
    shift: Float[Tensor, "S N 1 H"]
    w_out: Float[Tensor, "S H D"]
    b_out: Float[Tensor, "S 1 D"]
