"""Shading: how views are lit. Conventions as in `engine.recipe`."""

from dataclasses import dataclass

from engine.configs.common import Span, check


@dataclass(frozen=True, kw_only=True)
class ShadingConfig:
    """How often a view is lit, and how (DreamFusion, sections 3.2 and A.2)."""

    albedo_until: float = 0.1
    """Part of the run during which only albedo is shown."""
    shaded: float = 0.0
    """Probability that a later view is lit by a point light; 0 never computes normals."""
    textureless: float = 0.5
    """Probability that a lit view is white instead of coloured."""
    ambient: float = 0.3
    diffuse: float = 0.7
    soft: bool = False
    """Whether each lit view draws its own mix, diffuse U(0, 1) and ambient the rest, instead of
    the two above (threestudio's `soft_shading`)."""
    light_distance: Span = (0.8, 1.5)
    """From the origin."""
    light_spread: float = 1.0
    """The light's direction is that of N(camera's position, spread^2 I)."""

    def __post_init__(self) -> None:
        for probability in (self.albedo_until, self.shaded, self.textureless):
            check(0 <= probability <= 1, self, "probabilities in [0, 1]")
        check(min(self.ambient, self.diffuse) >= 0, self, "ambient and diffuse of 0 or more")
        low, high = self.light_distance
        check(0 < low <= high, self, "0 < light_distance low <= high")
        check(self.light_spread >= 0, self, "a light_spread of 0 or more")
