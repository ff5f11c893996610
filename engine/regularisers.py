"""The regularisers of a recipe, weighted and annealed. Axes: S scenes."""

from jaxtyping import Float
from torch import Tensor

from engine import losses
from engine.configs.common import Span
from engine.configs.losses import LossConfig
from engine.fields import Field, Parameters
from engine.render import Rendering


def weighted(
    config: LossConfig,
    field: Field,
    parameters: Parameters,
    rendering: Rendering,
    part: Float[Tensor, "S"],
) -> dict[str, Float[Tensor, "S"]]:
    """Weight times loss, by name; those of weight 0 are left out.

    `part` is the part of each scene's run that is done.
    """
    terms = {}
    if config.opacity:
        terms["opacity"] = config.opacity * losses.opacity(rendering.opacity)
    if any(config.entropy):
        terms["entropy"] = _linear(config.entropy, part) * losses.entropy(rendering.opacity)
    if config.distortion:
        terms["distortion"] = config.distortion * losses.distortion(
            rendering.weights, rendering.distance, rendering.delta
        )
    if config.total_variation:
        roughness = field.total_variation(parameters)
        terms["total_variation"] = config.total_variation * roughness
    if any(config.orientation):
        assert rendering.normal is not None
        ramp = (part / config.orientation_until).clamp(max=1.0)
        terms["orientation"] = _linear(config.orientation, ramp) * losses.orientation(
            rendering.weights, rendering.normal, rendering.directions
        )
    return terms


def _linear(span: Span, part: Float[Tensor, "S"]) -> Float[Tensor, "S"]:
    """Anneals linearly from the first value to the last."""
    return span[0] + (span[1] - span[0]) * part
