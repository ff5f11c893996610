"""Arithmetic of a diffusion model's networks, counted on the meta device: no GPU, no memory."""

from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from engine.bench.shapes import meta_vae
from engine.guidance.texts import MAX_TOKENS


def unet_flops(config: Any) -> int:
    """Of one picture's forward; `config` is the U-Net's own. A guided pair is twice that."""
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel.from_config(dict(config))
        size = config["sample_size"]
        x = torch.empty(1, config["in_channels"], size, size)
        t = torch.empty(1, dtype=torch.long)
        width = config["encoder_hid_dim"] or config["cross_attention_dim"]
        text = torch.empty(1, MAX_TOKENS, width)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            unet(x, t, text)
    return counter.get_total_flops()


def encoder_flops(config: Any, size: int) -> tuple[int, int]:
    """Of one picture's way through the image encoder, and of the gradient to it.

    `config` is the autoencoder's own. What is made anew on the way back is not counted.
    """
    vae = meta_vae(dict(config)).requires_grad_(False)
    with torch.device("meta"):
        x = torch.empty(1, 3, size, size, requires_grad=True)
        with FlopCounterMode(display=False) as forward:
            z = vae.encoder(x)
            z = z if vae.quant_conv is None else vae.quant_conv(z)
        with FlopCounterMode(display=False) as gradient:
            z.sum().backward()
    return forward.get_total_flops(), gradient.get_total_flops()
