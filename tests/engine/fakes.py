"""Guidance models that need no weights."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

COLOURS = {"red": (1.0, -1.0, -1.0), "green": (-1.0, 1.0, -1.0), "blue": (-1.0, -1.0, 1.0)}
"""In [-1, 1]; a prompt without one of these words means grey."""


def schedule(num_steps: int = 1000) -> Tensor:
    """A noise schedule alpha_t^2 that falls linearly."""
    return torch.linspace(0.999, 0.001, num_steps)


class DiscGuidance:
    """Believes that a picture shows a disc of the prompt's colour before an even background.

    A perfect denoiser for that belief: eps = (z_t - alpha x0) / sigma, where x0 is the disc and
    around it the mean of what is there. A prompt that begins with "poison" yields NaN.
    """

    def __init__(self, size: int = 16) -> None:
        self.device = torch.device("cpu")
        self.size = size
        self.alphas_cumprod = schedule()
        grid = (torch.arange(size) + 0.5) * (2.0 / size) - 1.0
        self.disc = (grid[None].square() + grid[:, None].square() < 0.3).float()

    def encode(self, prompts: list[str]) -> Tensor:
        """The colour as the text's first features, B 2 8."""
        text = torch.zeros(len(prompts), 2, 8)
        for k, prompt in enumerate(prompts):
            for word in prompt.replace(",", " ").split():
                if word in COLOURS:
                    text[k, 0, :3] = torch.tensor(COLOURS[word])
            if prompt.startswith("poison"):
                text[k] = torch.nan
        return text

    def represent(self, x: Tensor) -> Tensor:
        """The pictures themselves."""
        return x

    def predict_noise(self, z_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """The noise that the belief leaves over."""
        alpha_squared = self.alphas_cumprod[t][:, None, None, None]
        alpha, sigma = alpha_squared.sqrt(), (1.0 - alpha_squared).sqrt()
        around = 1.0 - self.disc
        background = (z_t * around).sum((2, 3), keepdim=True) / around.sum() / alpha
        x0 = self.disc * text[:, 0, :3, None, None] + around * background
        return (z_t - alpha * x0) / sigma


@dataclass
class RecordingGuidance:
    """Answers with a smooth function of everything it is asked, and keeps the questions."""

    size: int = 8
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    alphas_cumprod: Tensor = field(default_factory=schedule)
    prompts: list[str] = field(default_factory=list)
    calls: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)

    def encode(self, prompts: list[str]) -> Tensor:
        """Mean and length of the characters, B 3 4."""
        self.prompts.extend(prompts)
        rows = [[sum(map(ord, p)) / (1000.0 + len(p)), len(p) / 10.0] for p in prompts]
        return torch.tensor(rows, device=self.device).repeat(1, 6).view(-1, 3, 4)

    def represent(self, x: Tensor) -> Tensor:
        """The pictures themselves."""
        return x

    def predict_noise(self, z_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """sin(3 z_t + t / 1000) + mean of the text."""
        self.calls.append((z_t.clone(), t.clone(), text.clone()))
        phase = t.to(z_t.dtype)[:, None, None, None] / 1000.0
        return torch.sin(3.0 * z_t + phase) + text.mean((1, 2))[:, None, None, None]
