"""The denoising side of a diffusion model: a frozen U-Net and its noise schedule.

A U-Net that predicts v = alpha_t eps - sigma_t z (Salimans and Ho, arXiv 2202.00512) is asked for
the noise too: eps = alpha_t v + sigma_t z_t.
"""

import copy
import time
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from jaxtyping import Float, Int
from torch import Tensor

from engine import kernels
from engine.guidance.attention import align_texts
from engine.guidance.guidance import TextSide
from engine.guidance.quiet import no_bars
from engine.guidance.texts import MAX_TOKENS

_PREDICTIONS = ("epsilon", "v_prediction")


class Denoiser:
    """A U-Net on one device, with or without the text encoder that belongs to it."""

    def __init__(
        self,
        unet: Any,
        scheduler: Any,
        *,
        device: torch.device,
        text_side: TextSide | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """The parts are diffusers' own, whose stubs know too little of them.

        `dtype` is the U-Net's: by default bf16 on CUDA, and on a CPU whatever is faster there.
        """
        prediction = scheduler.config.prediction_type
        if prediction not in _PREDICTIONS:
            raise ValueError(
                f"guidance: expected prediction_type {' or '.join(_PREDICTIONS)} in "
                f"scheduler/scheduler_config.json, got {prediction!r}; give a model of either kind"
            )
        self._predicts_v = prediction == "v_prediction"
        self.recomputes = False
        """Whether an image encoder makes its activations anew on the way back; pixels have none."""
        self.device = device
        self.alphas_cumprod = scheduler.alphas_cumprod.to(device)
        self.num_channels = int(unet.config.in_channels)
        """Channels of the space it works in."""
        self.space_size = int(unet.config.sample_size)
        """Side of that space."""
        self.size = self.space_size
        """Side of the pictures it is shown, in pixels."""
        self.text_width = int(unet.config.encoder_hid_dim or unet.config.cross_attention_dim)
        """Features of a text's tokens."""
        self._text_side = text_side
        self._unet: Any = unet.to(device, memory_format=torch.channels_last).eval()
        self._unet.requires_grad_(False)
        self.dtype = dtype or (torch.bfloat16 if device.type == "cuda" else self._faster_dtype())
        self._unet.to(self.dtype)
        align_texts(self._unet)

    def compile(self) -> None:
        """Compiles the U-Net: a minute before its first answer for each number of pictures."""
        self._unet = compiled(self._unet, self.device)

    def encode(self, prompts: list[str]) -> Float[Tensor, "B T D"]:
        """The prompts' embeddings. Raises ValueError where no text encoder was loaded."""
        if self._text_side is None:
            raise ValueError(
                "guidance: loaded without its text encoder, expected embedded texts with the "
                "request; load it with one, or embed the texts elsewhere"
            )
        return self._text_side.encode(prompts)

    def predict_noise(
        self, z_t: Float[Tensor, "B C H W"], t: Int[Tensor, "B"], text: Float[Tensor, "B T D"]
    ) -> Float[Tensor, "B C H W"]:
        """The U-Net's noise in float32; whoever wants no gradient of it says so."""
        rounded = z_t.to(self.dtype, memory_format=torch.channels_last)
        answer = self._unet(rounded, t, text.to(self.dtype)).sample
        prediction = answer[:, : self.num_channels].float()
        if not self._predicts_v:
            return prediction
        alpha_squared = self.alphas_cumprod[t][:, None, None, None]
        return alpha_squared.sqrt() * prediction + (1.0 - alpha_squared).sqrt() * z_t

    @torch.no_grad()
    def _faster_dtype(self) -> torch.dtype:
        """float32 or bfloat16 by measurement: processors with AMX or bf16 units differ by 4x."""
        seconds = {}
        shape = (4, self.num_channels, self.space_size, self.space_size)
        x = torch.linspace(-1.0, 1.0, shape[0] * shape[1] * shape[2] ** 2).view(shape)
        t = torch.full((4,), 500)
        text = torch.linspace(-1.0, 1.0, self.text_width).repeat(4, MAX_TOKENS, 1)
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


def compiled(unet: Any, device: torch.device) -> Any:
    """The U-Net compiled, channels-last throughout on a GPU.

    Unforced, a first convolution from few channels makes the compiler give that up for all, and
    every other convolution then converts its operands: a fifth of a training step. Every number of
    pictures has a compilation of its own: one for all would know no size, and be slower.
    """
    if device.type == "cuda":
        # Each convolution's algorithm by trial, when it first meets its sizes.
        torch.backends.cudnn.benchmark = True
    # A compiler cannot see what a thread holds off: whether kernels run is settled here.
    torch.compiler.assume_constant_result(kernels.is_fused_on)
    options: dict[str, Any] = {"force_layout_optimization": device.type == "cuda"}
    return torch.compile(unet, options=options, dynamic=False)


@no_bars()
def load_unet(path: Any, device: torch.device, dtype: torch.dtype | None) -> UNet2DConditionModel:
    """The U-Net of a pipeline directory."""
    return UNet2DConditionModel.from_pretrained(
        path / "unet",
        torch_dtype=stored_dtype(device, dtype),
        low_cpu_mem_usage=False,
        use_safetensors=True,
    )


def stored_dtype(device: torch.device, dtype: torch.dtype | None) -> torch.dtype:
    """What weights are read in: on a GPU they never exist in full precision, which IF's would not
    fit in."""
    return torch.float32 if device.type == "cpu" else dtype or torch.bfloat16
