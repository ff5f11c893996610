"""A guidance model whose networks are timed."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.guidance.guidance import Guidance
from engine.stopwatch import Laps


class TimedGuidance:
    """The same model; its forwards are laps `unet` of what runs, those of its encoder `vae`."""

    def __init__(self, guidance: Guidance, laps: Laps) -> None:
        self.device: torch.device = guidance.device
        self.size: int = guidance.size
        self.alphas_cumprod = guidance.alphas_cumprod
        self._guidance = guidance
        self._laps = laps

    def encode(self, prompts: list[str]) -> Float[Tensor, "B T D"]:
        """As the model does."""
        return self._guidance.encode(prompts)

    def represent(self, x: Float[Tensor, "B 3 P P"]) -> Float[Tensor, "B C H W"]:
        """As the model does; what came before, the enlargement, is of the encoder's part."""
        z = self._guidance.represent(x)
        if z is not x:
            self._laps.lap("vae")
        return z

    def predict_noise(
        self, z_t: Float[Tensor, "B C H W"], t: Int[Tensor, "B"], text: Float[Tensor, "B T D"]
    ) -> Float[Tensor, "B C H W"]:
        """As the model does; what came before is of the part `other`."""
        self._laps.lap("other")
        noise = self._guidance.predict_noise(z_t, t, text)
        self._laps.lap("unet")
        return noise
