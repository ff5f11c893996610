"""What every guidance model offers to the distillation.

x    pictures in [-1, 1], as they are rendered                      B 3 P P
z    the same in the model's own space: pixels, or latents          B C H W
z_t  noised: alpha_t z + sigma_t eps                                B C H W
t    diffusion time as an index into the noise schedule             B
text embedded prompts                                               B T D

A model has two sides. The one that embeds texts is large and needed once a prompt, so that it may
live elsewhere: whoever has embedded texts hands them to the gang with the request, and a model
loaded without its text side says so when it is asked to `encode`.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor


@runtime_checkable
class TextSide(Protocol):
    """What embeds prompts."""

    def encode(self, prompts: list[str]) -> Float[Tensor, "B T D"]:
        """Embeds prompts, all to one length."""
        ...


@runtime_checkable
class Guidance(TextSide, Protocol):
    """A frozen text-to-image diffusion model that predicts noise."""

    device: torch.device
    size: int
    """Side of the pictures it is shown, in pixels."""
    alphas_cumprod: Float[Tensor, "time"]
    """alpha_t^2 of the noise schedule."""

    def represent(self, x: Float[Tensor, "B 3 P P"]) -> Float[Tensor, "B C H W"]:
        """The pictures in the model's own space, differentiable by x."""
        ...

    def predict_noise(
        self, z_t: Float[Tensor, "B C H W"], t: Int[Tensor, "B"], text: Float[Tensor, "B T D"]
    ) -> Float[Tensor, "B C H W"]:
        """The noise the model believes to be in z_t, differentiable by it alone."""
        ...
