"""What lies behind a scene: a plain colour a view, or an environment map.

The map is a small network of the encoded direction of the ray (DreamFusion, arXiv 2209.14988,
section 3.1), infinitely far away, and it is optimised with the scene. Its parameters are stacked
beside the field's under names that begin with `PREFIX`: `background.w<k>` S I O and
`background.b<k>` S 1 O of layer k.

Axes: S scenes, V views, R = V h w rays of a scene.
"""

from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.configs.background import BackgroundConfig
from engine.fields import Parameters
from engine.fields.field import he_uniform
from engine.philox import Purpose, uniform

PREFIX = "background."


def initial(config: BackgroundConfig, seed: Int[Tensor, "S"]) -> Parameters:
    """Fresh parameters: none of a plain background, a grey map otherwise (last weights at zero)."""
    if config.kind == "plain":
        return {}
    widths = [6 * config.num_frequencies, *[config.width] * (config.num_layers - 1), 3]
    parameters = {}
    for k, (inputs, outputs) in enumerate(pairwise(widths)):
        weights = he_uniform(seed, k, (inputs, outputs), Purpose.ENVIRONMENT)
        if k == config.num_layers - 1:
            weights = torch.zeros_like(weights)
        parameters[f"{PREFIX}w{k}"] = weights
        parameters[f"{PREFIX}b{k}"] = torch.zeros(len(seed), 1, outputs, device=seed.device)
    return parameters


def behind(
    config: BackgroundConfig,
    parameters: Parameters,
    directions: Float[Tensor, "S R 3"],
    plain: Float[Tensor, "S V 3"],
    seed: Int[Tensor, "S"],
    step: Int[Tensor, "S"],
) -> Float[Tensor, "S R 3"]:
    """Colours behind the rays; `plain` holds the colour of each view that gets a plain one."""
    num_views = plain.shape[1]
    rays_per_view = directions.shape[1] // num_views
    colour = plain.repeat_interleave(rays_per_view, dim=1)
    if config.kind == "plain":
        return colour
    is_plain = _coins(config, seed, step, num_views).repeat_interleave(rays_per_view, dim=1)
    return torch.where(is_plain[..., None], colour, environment(config, parameters, directions))


def environment(
    config: BackgroundConfig, parameters: Parameters, directions: Float[Tensor, "S R 3"]
) -> Float[Tensor, "S R 3"]:
    """The map's colours in these directions."""
    scale = 2.0 ** torch.arange(config.num_frequencies, device=directions.device)
    phase = (directions[:, :, None] * scale[:, None]).flatten(2)
    values = torch.cat([phase.sin(), phase.cos()], dim=-1)
    for k in range(config.num_layers):
        values = torch.relu(values) if k > 0 else values
        values = torch.baddbmm(parameters[f"{PREFIX}b{k}"], values, parameters[f"{PREFIX}w{k}"])
    return torch.sigmoid(values) if config.activation == "sigmoid" else 0.5 * values + 0.5


def _coins(
    config: BackgroundConfig, seed: Int[Tensor, "S"], step: Int[Tensor, "S"], num_views: int
) -> Bool[Tensor, "S V"]:
    """Which views get a plain colour after all."""
    return uniform(seed, step, Purpose.PLAIN_BACKGROUND, (num_views,)) < config.plain_chance
