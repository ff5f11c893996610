"""One training step of the teacher, in a form that a CUDA graph can capture.

Legend: x pictures in [-1, 1], t diffusion time, z = alpha_t x + sigma_t eps the noised picture. The
loss is |v_hat - v|^2 with v = alpha_t eps - sigma_t x (Salimans & Ho, arXiv 2202.00512), t uniform.
At high noise, where the caption is needed, it is the error of the picture itself; the error of eps
would all but vanish there.
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from engine.guidance.denoiser import compiled
from engine.primitives.backgrounds import composite
from engine.primitives.softness import soften
from engine.primitives.teacher import Teacher, build_scheduler, encode, tokenize

NUM_BINS = 4
"""Quarters of the diffusion time whose losses are logged apart."""

# torch's optimisers are built on these functions, but its stubs do not export them.
_foreach = cast(Any, torch)


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """Numbers of the training step."""

    batch: int = 256
    caption_dropout: float = 0.1
    soft_share: float = 0.1
    """Share of pictures at half the resolution, as recipes that render small show them."""
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    clip_norm: float = 1.0
    ema_decay: float = 0.9995

    def __post_init__(self) -> None:
        if self.batch < 1 or not 0.0 <= self.caption_dropout < 1.0:
            raise ValueError(
                "batch must be at least 1 and caption_dropout in [0, 1), got "
                f"{self.batch} and {self.caption_dropout}"
            )


def _parameters(teacher: Teacher) -> list[Tensor]:
    return [*teacher.unet.parameters(), *teacher.text_encoder.parameters()]


def _place(network: nn.Module, device: torch.device) -> None:
    """Ready a network for training; of channels-last only convolutions take notice."""
    # torch's stubs leave the memory format out.
    cast(Any, network).to(device, memory_format=torch.channels_last).train()


class Trainer:
    """The networks, their optimiser, their running mean and the pictures, on one device.

    `step` runs without waiting for the device. `rate` and `decay` are device scalars that the
    host sets between steps, so that a captured graph sees them change.
    """

    def __init__(
        self,
        teacher: Teacher,
        rgba: UInt8[Tensor, "N 4 h w"],
        tokens: Int[Tensor, "N T"],
        config: StepConfig,
    ) -> None:
        self.teacher, self.config = teacher, config
        self.device = rgba.device
        _place(teacher.unet, self.device)
        _place(teacher.text_encoder, self.device)
        self.mean = Teacher(
            unet=deepcopy(teacher.unet).requires_grad_(False).eval(),
            text_encoder=deepcopy(teacher.text_encoder).requires_grad_(False).eval(),
            tokenizer=teacher.tokenizer,
        )
        self._rgba, self._tokens = rgba, tokens.to(self.device)
        self._empty = tokenize(teacher.tokenizer, [""]).to(self.device)
        self._alpha_bar = build_scheduler().alphas_cumprod.to(self.device)
        self._weights, self._means = _parameters(teacher), _parameters(self.mean)
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
        self._graph: torch.cuda.CUDAGraph | None = None

    def compile(self) -> None:
        """Use compiled networks from the next step on."""
        self._unet = compiled(self.teacher.unet, self.device)
        self._text_encoder = torch.compile(self.teacher.text_encoder)

    def uncompile(self) -> None:
        """Use the networks as they are."""
        self._unet: Any = self.teacher.unet
        self._text_encoder: Any = self.teacher.text_encoder

    def capture(self, warm_up: int = 4) -> None:
        """Capture the whole step as a CUDA graph; `step` then replays it."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(warm_up):
                self._run()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        self._optimiser.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._run()
        self._graph = graph

    def step(self, rate: float, decay: float) -> None:
        """One optimisation step at a learning rate, and of the running mean at a decay."""
        self._rate.fill_(rate)
        self._decay.fill_(decay)
        if self._graph is None:
            self._run()
        else:
            self._graph.replay()

    def take_losses(self) -> list[float]:
        """Mean squared error of v by quarter of t since the last call; waits for the device.

        NaN for a quarter that no step has drawn.
        """
        total, count = self._losses.tolist()
        self._losses.zero_()
        return [a / b if b else float("nan") for a, b in zip(total, count, strict=True)]

    def _run(self) -> None:
        self._optimiser.zero_grad(set_to_none=True)
        loss = self._loss()
        loss.backward()
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
        is_empty = torch.rand(count, 1, device=device) < self.config.caption_dropout
        tokens = torch.where(is_empty, self._empty, self._tokens[rows])
        t = torch.randint(len(self._alpha_bar), (count,), device=device)
        a = self._alpha_bar[t][:, None, None, None]
        noise = torch.randn_like(x)
        noisy = a.sqrt() * x + (1.0 - a).sqrt() * noise
        velocity = a.sqrt() * noise - (1.0 - a).sqrt() * x
        noisy = noisy.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False):
            text = encode(self._text_encoder, tokens)
            guess = self._unet(noisy, t, text, return_dict=False)[0]
        error = (guess[:, :3].float() - velocity).square().mean(dim=(1, 2, 3))
        self._count_losses(t, error.detach())
        return error.mean()

    def _count_losses(self, t: Int[Tensor, "B"], error: Float[Tensor, "B"]) -> None:
        quarter = t * NUM_BINS // len(self._alpha_bar)
        self._losses[0].index_add_(0, quarter, error)
        self._losses[1].index_add_(0, quarter, torch.ones_like(error))
