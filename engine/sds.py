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

Axes: S scenes, V views, B = S V pictures, H W pixels, T tokens, D text features.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.configs.distillation import DistillationConfig
from engine.guidance.guidance import Guidance
from engine.philox import Purpose, normal, uniform


def draw_time(
    config: DistillationConfig,
    seed: Int[Tensor, "S"],
    step: Int[Tensor, "S"],
    part: Float[Tensor, "S"],
    num_views: int,
) -> Float[Tensor, "S V"]:
    """Diffusion times in (0, 1); t_max falls linearly over the run."""
    u = uniform(seed, step, Purpose.TIME, (num_views,))
    t_max = torch.lerp(
        torch.full_like(part, config.t_max[0]), torch.full_like(part, config.t_max[1]), part
    )
    return config.t_min + (t_max[:, None] - config.t_min) * u


def guided(
    conditional: Float[Tensor, "*b"], unconditional: Float[Tensor, "*b"], config: DistillationConfig
) -> Float[Tensor, "*b"]:
    """Classifier-free guidance in the recipe's form."""
    base = unconditional if config.form == "interpolate" else conditional
    return base + config.scale * (conditional - unconditional)


def picture_gradient(
    guidance: Guidance,
    x: Float[Tensor, "S V 3 H W"],
    text: Float[Tensor, "S V T D"],
    negative: Float[Tensor, "S V T D"],
    time: Float[Tensor, "S V"],
    seed: Int[Tensor, "S"],
    step: Int[Tensor, "S"],
    config: DistillationConfig,
) -> Float[Tensor, "S V 3 H W"]:
    """The gradient dL/dx of each picture, from one forward of the model for all of them.

    Under `gradient="score"` the model is never differentiated.
    """
    schedule = guidance.alphas_cumprod
    index = (time * len(schedule)).long().clamp(0, len(schedule) - 1)
    alpha = schedule[index].sqrt()[..., None, None, None]
    sigma = (1.0 - schedule[index]).sqrt()[..., None, None, None]
    eps = normal(seed, step, Purpose.NOISE, tuple(x.shape[1:]))
    is_full = config.gradient == "full"
    with torch.set_grad_enabled(is_full):
        z = (alpha * x + sigma * eps).detach().requires_grad_(is_full)
        both = guidance.predict_noise(
            torch.cat([z, z]).flatten(0, 1),
            index.flatten().repeat(2),
            torch.cat([negative, text]).flatten(0, 1),
        )
        unconditional, conditional = (half.view_as(x) for half in both.chunk(2))
        residual = guided(conditional, unconditional, config) - eps
    weight = sigma.square() if config.weighting == "sigma_squared" else torch.ones_like(sigma)
    if not is_full:
        return weight * residual
    # J^T residual; a picture's own, because the model lets none of a batch see another.
    (through,) = torch.autograd.grad(residual, z, grad_outputs=residual.detach())
    return weight * alpha * through
