"""Shading: how views are lit. Conventions as in `engine.recipe`."""

from dataclasses import dataclass

from engine.configs.common import check


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

    def __post_init__(self) -> None:
        for probability in (self.albedo_until, self.shaded, self.textureless):
            check(0 <= probability <= 1, self, "probabilities in [0, 1]")
