"""A guidance model whose forwards are timed."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.guidance.guidance import Guidance
from engine.stopwatch import Stopwatch


class TimedGuidance:
    """The same model; its forwards are laps `unet` of a stopwatch that runs."""

    def __init__(self, guidance: Guidance, stopwatch: Stopwatch) -> None:
        self.device: torch.device = guidance.device
        self.size: int = guidance.size
        self.alphas_cumprod = guidance.alphas_cumprod
        self._guidance = guidance
        self._stopwatch = stopwatch

    def encode(self, prompts: list[str]) -> Float[Tensor, "B T D"]:
        """As the model does."""
        return self._guidance.encode(prompts)

    def represent(self, x: Float[Tensor, "B 3 P P"]) -> Float[Tensor, "B C H W"]:
        """As the model does."""
        return self._guidance.represent(x)

    def predict_noise(
        self, x_t: Float[Tensor, "B C H W"], t: Int[Tensor, "B"], text: Float[Tensor, "B T D"]
    ) -> Float[Tensor, "B C H W"]:
        """As the model does; what came before is of the part `other`."""
        self._stopwatch.lap("other")
        noise = self._guidance.predict_noise(x_t, t, text)
        self._stopwatch.lap("unet")
        return noise
