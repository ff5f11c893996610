"""Latent-space guidance: Stable Diffusion 1.x and 2.x and every pipeline directory shaped like it.

A picture x becomes latents z = s E(x), with E the mean of the autoencoder's posterior and s its
scaling factor (Rombach et al., arXiv 2112.10752, appendix G). The posterior is so narrow that its
mean stands for a draw, and a step needs no more randomness. The U-Net works on z at an eighth of
the picture's side; gradients reach the picture through E, which is differentiated, and never
through the U-Net.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from engine.guidance import files
from engine.guidance.attention import use_products
from engine.guidance.denoiser import Denoiser, compiled, load_unet, stored_dtype
from engine.guidance.frozen import freeze_convolutions
from engine.guidance.guidance import TextSide
from engine.guidance.norms import fuse_norms
from engine.guidance.quiet import no_bars
from engine.guidance.texts import TextEncoder


class LatentGuidance(Denoiser):
    """A frozen U-Net behind a frozen image encoder."""

    def __init__(
        self,
        unet: Any,
        vae: Any,
        scheduler: Any,
        *,
        device: torch.device,
        text_side: TextSide | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """As `Denoiser`; the image encoder computes in the U-Net's precision."""
        super().__init__(unet, scheduler, device=device, text_side=text_side, dtype=dtype)
        reduction = 2 ** (len(vae.config.block_out_channels) - 1)
        self.size = self.space_size * reduction
        self._scaling = float(vae.config.scaling_factor)
        vae.decoder = None
        self._vae = vae.to(device, self.dtype, memory_format=torch.channels_last).eval()
        self._vae.requires_grad_(False)
        freeze_convolutions(self._vae)
        if device.type == "cuda":
            use_products(self._vae)
            fuse_norms(self._vae.encoder)
        self._mean: Any = self._posterior_mean

    def compile(self) -> None:
        """Compiles the image encoder, too."""
        super().compile()
        self._mean = compiled(self._posterior_mean, self.device)

    @classmethod
    @no_bars()
    def load(
        cls,
        path: str | Path,
        *,
        device: torch.device | str,
        dtype: torch.dtype | None = None,
        compiled: bool = False,
        with_texts: bool = True,
    ) -> "LatentGuidance":
        """Loads a pipeline directory, `with_texts` its text encoder too.

        Raises ValueError if a file is missing or wrongly shaped, or the model is a pixel one.
        """
        path, device = Path(path), torch.device(device)
        files.check(path, space="latent")
        stored = stored_dtype(device, dtype)
        texts = TextEncoder.load(path, device=device, dtype=dtype) if with_texts else None
        vae = AutoencoderKL.from_pretrained(
            path / "vae", torch_dtype=stored, low_cpu_mem_usage=False, use_safetensors=True
        )
        guidance = cls(
            load_unet(path, device, dtype),
            vae,
            DDPMScheduler.from_pretrained(path / "scheduler"),
            device=device,
            text_side=texts,
            dtype=dtype,
        )
        if compiled:
            guidance.compile()
        return guidance

    def represent(self, x: Float[Tensor, "B 3 P P"]) -> Float[Tensor, "B C H W"]:
        """Latents in float32, differentiable by x.

        A picture of 512 x 512 takes about half a GiB of activations. A guidance that `recomputes`
        makes each picture's anew on the way back, so that memory holds those of one; it takes one
        forward more.
        """
        if not (self.recomputes and x.requires_grad and len(x) > 1):
            return self._latents(x)
        each = [
            checkpoint(self._latents, one, use_reentrant=False, preserve_rng_state=False)
            for one in x.split(1)
        ]
        return torch.cat(each)

    def _latents(self, x: Float[Tensor, "B 3 P P"]) -> Float[Tensor, "B C H W"]:
        rounded = x.to(self.dtype, memory_format=torch.channels_last)
        return self._scaling * self._mean(rounded).float()

    def _posterior_mean(self, x: Float[Tensor, "B 3 P P"]) -> Float[Tensor, "B C H W"]:
        # As the autoencoder's `encode`, but for the posterior's width, which nobody asks for.
        moments = self._vae.encoder(x)
        if self._vae.quant_conv is not None:
            moments = self._vae.quant_conv(moments)
        return moments.chunk(2, dim=1)[0]
