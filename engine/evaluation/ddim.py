"""Pictures drawn by a diffusion model: DDIM without noise (Song et al., arXiv 2010.02502, eq. 12).

x_t     alpha_t x_0 + sigma_t eps, alpha_t^2 from the model's schedule; x in [-1, 1]
eps_hat uncond + scale (cond - uncond)
x_0     (x_t - sigma_t eps_hat) / alpha_t, thresholded: where the 99 % quantile q of a picture's
        |x_0| exceeds 1, clamped to q and divided by it (Imagen, arXiv 2205.11487, section 2.3)
eps     (x_t - alpha_t x_0) / sigma_t, so that what was cut off does not come back
step    x_s = alpha_s x_0 + sigma_s eps, with alpha = 1 after the last

Times are evenly spaced from 0 on, as in diffusers' `DDIMScheduler`. B pictures.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from engine.guidance.guidance import Guidance
from engine.primitives.teacher import THRESHOLD_SHARE

_AT_ONCE = {"cuda": 512, "cpu": 8}


@torch.no_grad()
def draw(
    guidance: Guidance, prompts: list[str], *, seed: int, steps: int = 50, scale: float = 3.0
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


def thresholded(x: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B 3 h w"]:
    """Pictures in [-1, 1], contrasts beyond it scaled down."""
    most = torch.quantile(x.abs().flatten(1), THRESHOLD_SHARE, dim=1)
    most = most.clamp(min=1.0)[:, None, None, None]
    return torch.minimum(torch.maximum(x, -most), most) / most


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
        clean = thresholded((x - (1.0 - now).sqrt() * eps) / now.sqrt())
        eps = (x - now.sqrt() * clean) / (1.0 - now).sqrt()
        x = after.sqrt() * clean + (1.0 - after).sqrt() * eps
    return x
