"""Pixel-space guidance: DeepFloyd IF and every pipeline directory shaped like it.

IF's U-Net returns 6 channels, the noise and a variance; only the noise is used. Its texts are T5
embeddings padded to 77 tokens. A U-Net that predicts v = alpha_t eps - sigma_t x (Salimans and Ho,
arXiv 2202.00512) is asked for the noise too: eps = alpha_t v + sigma_t x_t.
"""

import copy
import logging
import time
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from jaxtyping import Float, Int
from torch import Tensor
from transformers import AutoTokenizer, T5EncoderModel

from engine.guidance import files

_MAX_TOKENS = 77
_PREDICTIONS = ("epsilon", "v_prediction")

log = logging.getLogger(__name__)


class PixelGuidance:
    """A frozen U-Net on one device with its text encoder."""

    def __init__(
        self,
        unet: Any,
        text_encoder: Any,
        tokenizer: Any,
        scheduler: Any,
        *,
        device: torch.device,
        dtype: torch.dtype | None = None,
    ) -> None:
        """The parts are diffusers' and transformers' own, whose stubs know too little of them.

        `dtype` is the U-Net's: by default bf16 on CUDA, and on a CPU whatever is faster there.
        """
        prediction = scheduler.config.prediction_type
        if prediction not in _PREDICTIONS:
            raise ValueError(
                f"guidance: expected prediction_type {' or '.join(_PREDICTIONS)} in "
                f"scheduler/scheduler_config.json, got {prediction!r}; give a model of either kind"
            )
        self._predicts_v = prediction == "v_prediction"
        self.device = device
        self.size = int(unet.config.sample_size)
        self.alphas_cumprod = scheduler.alphas_cumprod.to(device)
        self._tokenizer = tokenizer
        self._text_encoder = text_encoder.to(device).eval().requires_grad_(False)
        self._unet = unet.to(device, memory_format=torch.channels_last).eval()
        self._unet.requires_grad_(False)
        self.dtype = dtype or (torch.bfloat16 if device.type == "cuda" else self._faster_dtype())
        self._unet.to(self.dtype)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: torch.device | str,
        dtype: torch.dtype | None = None,
        compiled: bool = False,
    ) -> "PixelGuidance":
        """Loads a pipeline directory. Raises ValueError if a file is missing or wrongly shaped.

        A compiled U-Net takes a minute before its first answer, once for each number of pictures.
        """
        path, device = Path(path), torch.device(device)
        files.check(path)
        # On a GPU the weights never exist in full precision, which IF's would not fit in.
        stored = torch.float32 if device.type == "cpu" else dtype or torch.bfloat16
        guidance = cls(
            UNet2DConditionModel.from_pretrained(
                path / "unet", torch_dtype=stored, low_cpu_mem_usage=False
            ),
            T5EncoderModel.from_pretrained(path / "text_encoder", dtype=stored),
            AutoTokenizer.from_pretrained(path / "tokenizer"),
            DDPMScheduler.from_pretrained(path / "scheduler"),
            device=device,
            dtype=dtype,
        )
        if compiled:
            # A first convolution from 3 channels makes the compiler give up channels-last for all.
            guidance._unet = torch.compile(
                guidance._unet, options={"force_layout_optimization": device.type == "cuda"}
            )
        return guidance

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> Float[Tensor, "B T D"]:
        """T5 embeddings of the prompts in lower case (as IF's), padded or cut to 77 tokens.

        A prompt that is cut is logged as a warning.
        """
        prompts = [prompt.lower().strip() for prompt in prompts]
        for prompt, ids in zip(prompts, self._tokenizer(prompts).input_ids, strict=True):
            if len(ids) > _MAX_TOKENS:
                log.warning("cut to %d of %d tokens: %.60s...", _MAX_TOKENS, len(ids), prompt)
        tokens = self._tokenizer(
            prompts,
            padding="max_length",
            max_length=_MAX_TOKENS,
            truncation=True,
            return_tensors="pt",
        ).to(self.device)
        text = self._text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask)[0]
        return text.float()

    def predict_noise(
        self, x_t: Float[Tensor, "B 3 H W"], t: Int[Tensor, "B"], text: Float[Tensor, "B T D"]
    ) -> Float[Tensor, "B 3 H W"]:
        """The U-Net's noise in float32; whoever wants no gradient of it says so."""
        rounded = x_t.to(self.dtype, memory_format=torch.channels_last)
        prediction = self._unet(rounded, t, text.to(self.dtype)).sample[:, :3].float()
        if not self._predicts_v:
            return prediction
        alpha_squared = self.alphas_cumprod[t][:, None, None, None]
        return alpha_squared.sqrt() * prediction + (1.0 - alpha_squared).sqrt() * x_t

    def _faster_dtype(self) -> torch.dtype:
        """float32 or bfloat16 by measurement: processors with AMX or bf16 units differ by 4x."""
        seconds = {}
        x = torch.linspace(-1.0, 1.0, 4 * 3 * self.size**2).view(4, 3, self.size, self.size)
        t = torch.full((4,), 500)
        text = self.encode([""]).expand(4, -1, -1)
        exact = self._unet
        # A copy, because the way back from bfloat16 would not restore the weights.
        rounded = copy.deepcopy(exact).to(torch.bfloat16)
        for self.dtype, self._unet in ((torch.float32, exact), (torch.bfloat16, rounded)):
            self.predict_noise(x, t, text)
            start = time.perf_counter()
            for _ in range(3):
                self.predict_noise(x, t, text)
            seconds[self.dtype] = time.perf_counter() - start
        self._unet = exact
        return min(seconds, key=lambda dtype: seconds[dtype])
