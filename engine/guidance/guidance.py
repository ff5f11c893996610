"""What every guidance model offers to the distillation.

x_t  noised pictures alpha_t x + sigma_t eps, x in [-1, 1]   B 3 H W
t    diffusion time as an index into the noise schedule        B
text embedded prompts                                          B T D
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor


@runtime_checkable
class Guidance(Protocol):
    """A frozen text-to-image diffusion model that predicts noise."""

    device: torch.device
    size: int
    """Side of the pictures it sees, in pixels."""
    alphas_cumprod: Float[Tensor, "time"]
    """alpha_t^2 of the noise schedule."""

    def encode(self, prompts: list[str]) -> Float[Tensor, "B T D"]:
        """Embeds prompts, all to one length."""
        ...

    def predict_noise(
        self, x_t: Float[Tensor, "B 3 H W"], t: Int[Tensor, "B"], text: Float[Tensor, "B T D"]
    ) -> Float[Tensor, "B 3 H W"]:
        """The noise the model believes to be in x_t, differentiable by x_t alone."""
        ...
