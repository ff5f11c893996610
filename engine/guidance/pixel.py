"""Pixel-space guidance: DeepFloyd IF and every pipeline directory shaped like it.

IF's U-Net returns 6 channels, the noise and a variance; only the noise is used.
"""

from pathlib import Path

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from jaxtyping import Float
from torch import Tensor

from engine.guidance import files
from engine.guidance.denoiser import Denoiser, load_unet
from engine.guidance.texts import TextEncoder


class PixelGuidance(Denoiser):
    """A frozen U-Net that sees the pictures themselves."""

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: torch.device | str,
        dtype: torch.dtype | None = None,
        compiled: bool = False,
        with_texts: bool = True,
    ) -> "PixelGuidance":
        """Loads a pipeline directory, `with_texts` its text encoder too.

        Raises ValueError if a file is missing or wrongly shaped, or the model is a latent one.
        """
        path, device = Path(path), torch.device(device)
        files.check(path, space="pixel")
        texts = TextEncoder.load(path, device=device, dtype=dtype) if with_texts else None
        guidance = cls(
            load_unet(path, device, dtype),
            DDPMScheduler.from_pretrained(path / "scheduler"),
            device=device,
            text_side=texts,
            dtype=dtype,
        )
        if compiled:
            guidance.compile()
        return guidance

    def represent(self, x: Float[Tensor, "B 3 P P"]) -> Float[Tensor, "B 3 P P"]:
        """The pictures themselves."""
        return x
