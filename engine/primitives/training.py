"""One training step of the teacher's U-Net, in a form that CUDA graphs can capture.

The text encoder has learnt to read before (`reading`) and is frozen: each caption is embedded once.

Legend: x pictures in [-1, 1], t diffusion time, z = alpha_t x + sigma_t eps the noised picture. The
loss is |v_hat - v|^2 with v = alpha_t eps - sigma_t x (Salimans & Ho, arXiv 2202.00512). At high
noise, where the caption is needed, it is the error of the picture itself; the error of eps would
all but vanish there. For the same reason high noise is drawn more often than low.
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from engine.guidance.denoiser import compiled
from engine.primitives.backgrounds import composite
from engine.primitives.peers import Peers
from engine.primitives.softness import soften
from engine.primitives.teacher import Teacher, build_scheduler, encode, tokenize

_CAPTIONS_AT_ONCE = 1024

NUM_BINS = 4
"""Quarters of the diffusion time whose losses are logged apart."""

# torch's optimisers are built on these functions, but its stubs do not export them.
_foreach = cast(Any, torch)


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """Numbers of the training step."""

    batch: int = 256
    caption_dropout: float = 0.1
    time_power: float = 1.5
    """Times are 1 - u^power with u uniform in [0, 1): 1 is even, more is noisier."""
    soft_share: float = 0.1
    """Share of pictures at half the resolution, as recipes that render small show them."""
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    clip_norm: float = 1.0
    ema_decay: float = 0.9995

    def __post_init__(self) -> None:
        if self.batch < 1 or not 0.0 <= self.caption_dropout < 1.0 or self.time_power <= 0:
            raise ValueError(
                "batch must be at least 1, caption_dropout in [0, 1) and time_power above 0, got "
                f"{self.batch}, {self.caption_dropout} and {self.time_power}"
            )


def place(teacher: Teacher, device: torch.device) -> None:
    """Puts a teacher on its device, the U-Net ready for training, the text encoder frozen."""
    # torch's stubs leave the memory format out.
    cast(Any, teacher.unet).to(device, memory_format=torch.channels_last).train()
    cast(Any, teacher.text_encoder).to(device).requires_grad_(False).eval()


@torch.no_grad()
def _embedded(
    teacher: Teacher, tokens: Int[Tensor, "N T"]
) -> tuple[Float[Tensor, "C T d"], Int[Tensor, "N"]]:
    """The text of each different caption, and which one each picture has."""
    different, number = torch.unique(tokens, dim=0, return_inverse=True)
    device = teacher.unet.device
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    some = different.to(device).split(_CAPTIONS_AT_ONCE)
    texts = torch.cat([encode(teacher.text_encoder, part).to(dtype) for part in some])
    return texts, number.to(device)


class Trainer:
    """The U-Net, its optimiser, its running mean, the pictures and their texts, on one device.

    `step` runs without waiting for the device. `rate` and `decay` are device scalars that the
    host sets between steps, so that a captured graph sees them change.
    """

    def __init__(
        self,
        teacher: Teacher,
        rgba: UInt8[Tensor, "N 4 h w"],
        tokens: Int[Tensor, "N T"],
        config: StepConfig,
        peers: Peers | None = None,
    ) -> None:
        self.teacher, self.config, self._peers = teacher, config, peers or Peers()
        self.device = rgba.device
        place(teacher, self.device)
        self.mean = Teacher(
            unet=deepcopy(teacher.unet).requires_grad_(False).eval(),
            text_encoder=teacher.text_encoder,
            tokenizer=teacher.tokenizer,
        )
        self._rgba = rgba
        self._texts, self._text_of = _embedded(teacher, tokens)
        self._empty = _embedded(teacher, tokenize(teacher.tokenizer, [""]))[0]
        self._alpha_bar = build_scheduler().alphas_cumprod.to(self.device)
        self._weights = list(teacher.unet.parameters())
        self._means = list(self.mean.unet.parameters())
        self._rate = torch.zeros((), device=self.device)
        self._decay = torch.zeros((), device=self.device)
        self._losses = torch.zeros(2, NUM_BINS, device=self.device)
        self._optimiser = torch.optim.AdamW(
            self._weights,
            lr=self._rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=True,
            capturable=self.device.type == "cuda",
        )
        self.uncompile()
        self._graphs: tuple[torch.cuda.CUDAGraph, torch.cuda.CUDAGraph] | None = None

    def compile(self) -> None:
        """Use a compiled U-Net from the next step on."""
        self._unet = compiled(self.teacher.unet, self.device)

    def uncompile(self) -> None:
        """Use the U-Net as it is."""
        self._unet: Any = self.teacher.unet

    def capture(self, warm_up: int = 4) -> None:
        """Capture both halves of a step as CUDA graphs; `step` then replays them.

        The gradients are averaged in between, outside of either.
        """
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        self._rate.zero_()
        self._decay.fill_(1.0)
        with torch.cuda.stream(side):
            for _ in range(warm_up):
                self.differentiate()
                self._update()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        self._optimiser.zero_grad(set_to_none=True)
        first, second = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        # Elsewhere in the process the peers' watchdog looks at its own work.
        with torch.cuda.graph(first, capture_error_mode="thread_local"):
            self.differentiate()
        with torch.cuda.graph(second, pool=first.pool(), capture_error_mode="thread_local"):
            self._update()
        self._graphs = first, second

    def align(self) -> None:
        """Makes this trainer and its peers alike: weights, running mean and moments."""
        state = [
            value
            for of_one in self._optimiser.state.values()
            for value in of_one.values()
            if isinstance(value, Tensor)
        ]
        self._peers.align([*self._weights, *self._means, *state])

    def step(self, rate: float, decay: float) -> None:
        """One optimisation step at a learning rate, and of the running mean at a decay."""
        self._rate.fill_(rate)
        self._decay.fill_(decay)
        differentiate, update = (
            (self.differentiate, self._update)
            if self._graphs is None
            else (self._graphs[0].replay, self._graphs[1].replay)
        )
        differentiate()
        self._peers.average([weight.grad for weight in self._weights if weight.grad is not None])
        update()

    def take_losses(self) -> list[float]:
        """Mean squared error of v by quarter of t since the last call; waits for the device.

        NaN for a quarter that no step has drawn.
        """
        total, count = self._losses.tolist()
        self._losses.zero_()
        return [a / b if b else float("nan") for a, b in zip(total, count, strict=True)]

    def differentiate(self) -> None:
        """The gradients of one batch of this process."""
        self._optimiser.zero_grad(set_to_none=True)
        self._loss().backward()

    def _update(self) -> None:
        torch.nn.utils.clip_grad_norm_(self._weights, self.config.clip_norm, foreach=True)
        self._optimiser.step()
        with torch.no_grad():
            change = _foreach._foreach_sub(self._weights, self._means)
            _foreach._foreach_mul_(change, 1.0 - self._decay)
            _foreach._foreach_add_(self._means, change)

    def _loss(self) -> Float[Tensor, ""]:
        count, device = self.config.batch, self.device
        rows = torch.randint(len(self._rgba), (count,), device=device)
        x = soften(composite(self._rgba[rows]), self.config.soft_share)
        is_empty = torch.rand(count, 1, 1, device=device) < self.config.caption_dropout
        text = torch.where(is_empty, self._empty, self._texts[self._text_of[rows]])
        time = 1.0 - torch.rand(count, device=device) ** self.config.time_power
        t = (time * len(self._alpha_bar)).long().clamp(max=len(self._alpha_bar) - 1)
        a = self._alpha_bar[t][:, None, None, None]
        noise = torch.randn_like(x)
        noisy = a.sqrt() * x + (1.0 - a).sqrt() * noise
        velocity = a.sqrt() * noise - (1.0 - a).sqrt() * x
        noisy = noisy.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False):
            guess = self._unet(noisy, t, text, return_dict=False)[0]
        error = (guess[:, :3].float() - velocity).square().mean(dim=(1, 2, 3))
        self._count_losses(t, error.detach())
        return error.mean()

    def _count_losses(self, t: Int[Tensor, "B"], error: Float[Tensor, "B"]) -> None:
        quarter = t * NUM_BINS // len(self._alpha_bar)
        self._losses[0].index_add_(0, quarter, error)
        self._losses[1].index_add_(0, quarter, torch.ones_like(error))
