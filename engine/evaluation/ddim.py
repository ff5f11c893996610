"""Pictures drawn by a diffusion model: DDIM without noise (Song et al., arXiv 2010.02502, eq. 12).

x_t     alpha_t x_0 + sigma_t eps, alpha_t^2 from the model's schedule; x in [-1, 1]
eps_hat uncond + scale (cond - uncond)
x_0     (x_t - sigma_t eps_hat) / alpha_t, clamped
step    x_s = alpha_s x_0 + sigma_s eps_hat, with alpha = 1 after the last

Times are evenly spaced from 0 on, as in diffusers' `DDIMScheduler`. B pictures.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from engine.guidance.guidance import Guidance

_AT_ONCE = {"cuda": 512, "cpu": 8}


@torch.no_grad()
def draw(
    guidance: Guidance, prompts: list[str], *, seed: int, steps: int = 50, scale: float = 4.0
) -> Float[Tensor, "B 3 h w"]:
    """A picture in [0, 1] of each prompt; a function of the prompts' order and the seed."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(prompts), 3, guidance.size, guidance.size, generator=generator)
    empty = guidance.encode([""])
    found: list[Tensor] = []
    at_once = _AT_ONCE.get(guidance.device.type, 8)
    for k in range(0, len(prompts), at_once):
        x, texts = noise[k : k + at_once].to(guidance.device), prompts[k : k + at_once]
        text = torch.cat([empty.expand(len(texts), -1, -1), guidance.encode(texts)])
        found.append(_denoise(guidance, x, text, steps, scale))
    return torch.cat(found).mul(0.5).add(0.5).clamp(0.0, 1.0)


def _denoise(
    guidance: Guidance,
    x: Float[Tensor, "B 3 h w"],
    text: Float[Tensor, "B2 T D"],
    steps: int,
    scale: float,
) -> Float[Tensor, "B 3 h w"]:
    """From noise to pictures in [-1, 1]; `text` holds the empty prompts, then the prompts."""
    schedule = guidance.alphas_cumprod
    stride = len(schedule) // steps
    for t in reversed(range(0, steps * stride, stride)):
        time = torch.full((2 * len(x),), t, device=x.device)
        uncond, cond = guidance.predict_noise(torch.cat([x, x]), time, text).chunk(2)
        eps = uncond + scale * (cond - uncond)
        now = schedule[t]
        after = schedule[t - stride] if t >= stride else torch.ones_like(now)
        clean = ((x - (1.0 - now).sqrt() * eps) / now.sqrt()).clamp(-1.0, 1.0)
        x = after.sqrt() * clean + (1.0 - after).sqrt() * eps
    return x
