"""Diffusion models of the real shapes with random weights: what a step costs, not what it makes.

Configurations are those that the models are published with, as far as they differ from diffusers'
defaults; weights are drawn on the device itself in bf16, so that none of them ever passes through
the host. Nothing of a text encoder is made: texts are random too.
"""

import copy
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from jaxtyping import Float
from torch import Tensor

from engine.guidance.latent import LatentGuidance
from engine.guidance.pixel import PixelGuidance
from engine.guidance.prompts import VIEWS
from engine.guidance.texts import MAX_TOKENS

RealModel = Literal["if", "sd"]
"""A model that is published."""

IF_UNET: dict[str, Any] = {
    "sample_size": 64,
    "in_channels": 3,
    "out_channels": 6,
    "act_fn": "gelu",
    "addition_embed_type": "text",
    "addition_embed_type_num_heads": 64,
    "attention_head_dim": 64,
    "block_out_channels": (704, 1408, 2112, 2816),
    "cross_attention_dim": 2816,
    "cross_attention_norm": "group_norm",
    "down_block_types": ("ResnetDownsampleBlock2D", *("SimpleCrossAttnDownBlock2D",) * 3),
    "encoder_hid_dim": 4096,
    "encoder_hid_dim_type": "text_proj",
    "layers_per_block": 3,
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "resnet_time_scale_shift": "scale_shift",
    "up_block_types": (*("SimpleCrossAttnUpBlock2D",) * 3, "ResnetUpsampleBlock2D"),
}
"""`unet/config.json` of DeepFloyd/IF-I-XL-v1.0: 4,304,695,110 parameters."""

SD_UNET: dict[str, Any] = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "attention_head_dim": (5, 10, 20, 20),
    "block_out_channels": (320, 640, 1280, 1280),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
"""`unet/config.json` of stable-diffusion-2-1-base: 865,910,724 parameters."""

SD_VAE: dict[str, Any] = {
    "sample_size": 768,
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 4,
    "layers_per_block": 2,
}
"""`vae/config.json` of the same: 83,653,863 parameters, 34,163,592 of them the encoder's."""

IF_SCHEDULE: dict[str, Any] = {"beta_schedule": "squaredcos_cap_v2"}
SD_SCHEDULE: dict[str, Any] = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
}


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A model's networks on one device."""

    unet: Any
    scheduler: DDPMScheduler
    vae: Any | None = None
    """Its encoder; None for a model of pixels."""

    def guidance(
        self, device: torch.device, *, compiled: bool = False, recomputes: bool = False
    ) -> PixelGuidance | LatentGuidance:
        """Guidance around these very networks, so that several of them share their memory."""
        dtype = next(self.unet.parameters()).dtype
        if self.vae is None:
            guidance = PixelGuidance(self.unet, self.scheduler, device=device, dtype=dtype)
        else:
            guidance = LatentGuidance(
                self.unet, self.vae, self.scheduler, device=device, dtype=dtype
            )
        guidance.recomputes = recomputes
        if compiled:
            guidance.compile()
        return guidance

    def exact(self) -> "Parts":
        """The same networks in float32, copied."""
        vae = None if self.vae is None else copy.deepcopy(self.vae).float()
        return Parts(unet=copy.deepcopy(self.unet).float(), scheduler=self.scheduler, vae=vae)


def parts(
    model: RealModel, device: torch.device, *, dtype: torch.dtype = torch.bfloat16, seed: int = 0
) -> Parts:
    """The model's networks on the device, of random weights."""
    schedule = DDPMScheduler(**(IF_SCHEDULE if model == "if" else SD_SCHEDULE))
    unet = meta_unet(IF_UNET if model == "if" else SD_UNET)
    vae = None if model == "if" else meta_vae(SD_VAE)
    return Parts(
        unet=made(unet, device, dtype, seed),
        scheduler=schedule,
        vae=None if vae is None else made(vae, device, dtype, seed + 1),
    )


def meta_unet(config: dict[str, Any]) -> Any:
    """The U-Net without memory."""
    with torch.device("meta"):
        return UNet2DConditionModel(**config)


def meta_vae(config: dict[str, Any]) -> Any:
    """The autoencoder without memory, and without its decoder."""
    kind: Any = AutoencoderKL
    with torch.device("meta"):
        vae = kind(**config)
    vae.decoder = vae.post_quant_conv = None
    return vae


@torch.no_grad()
def made(network: Any, device: torch.device, dtype: torch.dtype, seed: int) -> Any:
    """The network of the meta device on a real one, so initialised that signals keep their size.

    Weights are uniform with variance 1 / inputs, norms the identity, biases 0.
    """
    network = network.to(dtype).to_empty(device=device).to(memory_format=torch.channels_last)
    generator = torch.Generator(device).manual_seed(seed)
    for name, p in network.named_parameters():
        if name.endswith("bias"):
            p.zero_()
        elif p.dim() < 2:
            p.fill_(1.0)
        else:
            most = math.sqrt(3.0 / p[0].numel())
            p.uniform_(-most, most, generator=generator)
    return network


def texts(width: int, seed: int, device: torch.device) -> Float[Tensor, "K T D"]:
    """What `Gang.add` wants of a scene, drawn from a normal distribution."""
    generator = torch.Generator(device).manual_seed(seed)
    shape = (1 + len(VIEWS), MAX_TOKENS, width)
    return torch.randn(shape, generator=generator, device=device)
