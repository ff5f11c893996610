"""Score distillation sampling (DreamFusion, arXiv 2209.14988, section 3), and what it leaves out.

x       a rendered picture in [-1, 1]
t       diffusion time, drawn from U(t_min, t_max)
z_t     alpha_t x + sigma_t eps, with alpha_t^2 + sigma_t^2 = 1
eps_hat the model's noise under classifier-free guidance
w(t)    weight, sigma_t^2 or 1

J       d eps_hat / d z_t, the guided model's Jacobian
L       w(t)/2 |eps_hat - eps|^2, the diffusion loss of a picture (eq. 1, halved)

full    dL/dx = w(t) alpha_t J^T (eps_hat - eps)   (eq. 2)
score   dL/dx = w(t) (eps_hat - eps): J is left out, and alpha_t is absorbed by w(t)   (eq. 3)

With Perp-Neg (arXiv 2304.04968, section 4) other views' texts d_i are denied, each with a weight:

e       eps(text) - eps(negative), what the text asks for
e_i     eps(d_i) - eps(negative)
eps_hat as if the text had asked for e + sum_i w_i (e_i - e <e_i, e> / <e, e>)

Pictures are in the model's own space: pixels, or the latents of an encoder (`Guidance.represent`).
Axes: S scenes, V views, N denied texts, C channels, H W pixels, T tokens, D text features.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.configs.distillation import DistillationConfig
from engine.guidance.guidance import Guidance
from engine.philox import Purpose, normal, uniform

_LEAST_SQUARE = 1e-6
"""Below this square of its length, what the text asks for has no direction (threestudio)."""


@dataclass(frozen=True, kw_only=True)
class Denial:
    """Texts that a view is to look unlike."""

    text: Float[Tensor, "S V N T D"]
    weight: Float[Tensor, "S V N"]
    """0 or less."""


def draw_time(
    config: DistillationConfig,
    seed: Int[Tensor, "S"],
    step: Int[Tensor, "S"],
    part: Float[Tensor, "S"],
    num_views: int,
) -> Float[Tensor, "S V"]:
    """Diffusion times in (0, 1), by the recipe's schedule."""
    if config.t_schedule == "sqrt":
        first, last = config.t_max
        return (first + (last - first) * part.sqrt())[:, None].repeat(1, num_views)
    u = uniform(seed, step, Purpose.TIME, (num_views,))
    t_max = torch.lerp(
        torch.full_like(part, config.t_max[0]), torch.full_like(part, config.t_max[1]), part
    )
    return config.t_min + (t_max[:, None] - config.t_min) * u


def guided(
    conditional: Float[Tensor, "*b"],
    unconditional: Float[Tensor, "*b"],
    config: DistillationConfig,
    denied: Float[Tensor, "*b"] | None = None,
) -> Float[Tensor, "*b"]:
    """Classifier-free guidance in the recipe's form; `denied` is added to what the text asks for.

    The two forms remain one apart in their scales, with and without a denial.
    """
    asked = conditional - unconditional
    base = unconditional if config.form == "interpolate" else conditional
    if denied is not None:
        asked = asked + denied
        base = base if config.form == "interpolate" else base + denied
    return base + config.scale * asked


def denied_direction(
    asked: Float[Tensor, "S V C H W"],
    others: Float[Tensor, "S V N C H W"],
    weight: Float[Tensor, "S V N"],
) -> Float[Tensor, "S V C H W"]:
    """Perp-Neg's sum of the others' components perpendicular to what is asked for."""
    pixels = (-3, -2, -1)
    asked = asked[:, :, None]
    square = asked.square().sum(pixels, keepdim=True).clamp(min=_LEAST_SQUARE)
    along = (others * asked).sum(pixels, keepdim=True) / square
    return (weight[..., None, None, None] * (others - along * asked)).sum(dim=2)


def picture_gradient(
    guidance: Guidance,
    x: Float[Tensor, "S V C H W"],
    text: Float[Tensor, "S V T D"],
    negative: Float[Tensor, "S V T D"],
    time: Float[Tensor, "S V"],
    seed: Int[Tensor, "S"],
    step: Int[Tensor, "S"],
    config: DistillationConfig,
    denial: Denial | None = None,
) -> Float[Tensor, "S V C H W"]:
    """The gradient dL/dx of each picture, from one forward of the model for all of them.

    Under `gradient="score"` the model is never differentiated. `denial` is Perp-Neg's.
    """
    schedule = guidance.alphas_cumprod
    index = (time * len(schedule)).long().clamp(0, len(schedule) - 1)
    alpha = schedule[index].sqrt()[..., None, None, None]
    sigma = (1.0 - schedule[index]).sqrt()[..., None, None, None]
    eps = normal(seed, step, Purpose.NOISE, tuple(x.shape[1:]))
    is_full = config.gradient == "full"
    with torch.set_grad_enabled(is_full):
        z = (alpha * x + sigma * eps).detach().requires_grad_(is_full)
        residual = _eps_hat(guidance, z, index, text, negative, config, denial) - eps
    weight = sigma.square() if config.weighting == "sigma_squared" else torch.ones_like(sigma)
    if is_full:
        # J^T residual; a picture's own, because the model lets none of a batch see another.
        (residual,) = torch.autograd.grad(residual, z, grad_outputs=residual.detach())
        residual = alpha * residual
    gradient = weight * residual
    return gradient.clamp(-config.clamp, config.clamp) if config.clamp else gradient


def _eps_hat(
    guidance: Guidance,
    z: Float[Tensor, "S V C H W"],
    index: Int[Tensor, "S V"],
    text: Float[Tensor, "S V T D"],
    negative: Float[Tensor, "S V T D"],
    config: DistillationConfig,
    denial: Denial | None,
) -> Float[Tensor, "S V C H W"]:
    """The model's noise in z_t under guidance; all texts are asked about in one forward."""
    texts = [negative, text]
    if denial is not None:
        texts += denial.text.unbind(dim=2)
    answers = guidance.predict_noise(
        torch.cat([z] * len(texts)).flatten(0, 1),
        index.flatten().repeat(len(texts)),
        torch.cat(texts).flatten(0, 1),
    )
    unconditional, conditional, *others = (a.view_as(z) for a in answers.chunk(len(texts)))
    denied = None
    if denial is not None:
        denied = denied_direction(
            conditional - unconditional,
            torch.stack([other - unconditional for other in others], dim=2),
            denial.weight,
        )
    return guided(conditional, unconditional, config, denied)
