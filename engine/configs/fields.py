"""Fields: how density and albedo are stored. Conventions as in `engine.recipe`.

A field fills the cube [-bound, bound]^3, whose inscribed ball is where a recipe looks
(`engine.configs.march`). `part` is the share of the run that is done, in [0, 1].
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints

from engine.configs.common import Span, check

Normals = Literal["analytic", "differences"]
"""analytic: the gradient of density, differentiated. differences: central ones of density."""


@dataclass(frozen=True, kw_only=True)
class DenseGridConfig:
    """Density and albedo on a sum of dense lattices, read by trilinear interpolation."""

    kind: Literal["dense_grid"] = "dense_grid"
    bound: float = 1.0
    """Half the side of the cube; radius of the scene."""
    resolutions: tuple[int, ...] = (16, 64)
    """Lattice points per side, coarse to fine."""
    density_gain: float = 10.0
    """Factor on raw density; with Adam it sets how much faster density moves than colour."""
    blob_density: float = 10.0
    """Peak of the initial density blob, per scene unit (Magic3D's form, arXiv 2211.10440)."""
    blob_radius: float = 0.5
    """Distance from the origin at which the blob's bias reaches zero."""

    def __post_init__(self) -> None:
        check(self.bound > 0, self, "a bound above 0")
        check(all(n >= 2 for n in self.resolutions), self, "at least 2 lattice points per side")
        check(len(set(self.resolutions)) == len(self.resolutions), self, "resolutions that differ")


@dataclass(frozen=True, kw_only=True)
class HashGridConfig:
    """Multiresolution hash encoding and a small MLP (Instant NGP, arXiv 2201.05989)."""

    kind: Literal["hash_grid"] = "hash_grid"
    bound: float = 1.0
    """Half the side of the cube; radius of the scene."""
    num_levels: int = 12
    features: int = 2
    """Features an entry."""
    log2_size: int = 16
    """log2 of the entries a level."""
    base_resolution: int = 8
    """Cells per side of the cube on the coarsest level."""
    finest_resolution: int = 256
    hidden: int = 64
    """Width of the MLP's single hidden layer."""
    activation: Literal["softplus", "exp"] = "softplus"
    """From raw density to density; exp is DreamFusion's, softplus threestudio's."""
    albedo: Literal["sigmoid", "shifted"] = "sigmoid"
    """From raw colour to albedo; shifted is threestudio's (raw + 1) / 2, which has no bounds."""
    blob: Literal["linear", "gaussian"] = "linear"
    """Shape of the initial blob: Magic3D's, or DreamFusion's."""
    blob_density: float = 10.0
    """The blob's peak, before the activation."""
    blob_radius: float = 0.5
    """Where a linear blob reaches zero; standard deviation of a gaussian one."""
    start_level: int = 0
    """Levels that are seen from the start; 0 shows all (progressive bands, as in threestudio)."""
    level_from: float = 0.0
    """Part of the run from which on levels are added, ..."""
    level_every: float = 0.05
    """... the first of them when this part more is done, and one each time it is done again."""
    normals: Normals = "analytic"
    normal_step: float = 0.01
    """Half the distance between the points of a difference (threestudio's)."""

    def __post_init__(self) -> None:
        check(self.bound > 0, self, "a bound above 0")
        check(self.num_levels >= 2, self, "num_levels of 2 or more")
        check(
            self.base_resolution < self.finest_resolution, self, "base_resolution below the finest"
        )
        check(0 <= self.start_level <= self.num_levels, self, "start_level in [0, num_levels]")
        check(0 <= self.level_from <= 1, self, "level_from in [0, 1]")
        check(self.level_every > 0, self, "level_every above 0")
        _check_choices(self, "activation", "albedo", "blob", "normals")
        check(self.normal_step > 0, self, "a normal_step above 0")


@dataclass(frozen=True, kw_only=True)
class MipMlpConfig:
    """DreamFusion's own field (arXiv 2209.14988, appendix A.2): a blurred encoding and an MLP.

    Its defaults are the paper's, but for `bound` (1.4 there) and what says otherwise.
    """

    kind: Literal["mip_mlp"] = "mip_mlp"
    bound: float = 1.0
    """Radius of the scene. The encoding reads scene units, whatever the bound."""
    num_frequencies: int = 8
    """L: sines and cosines of 2^0 .. 2^(L-1) times each coordinate."""
    blur: Span = (5e-2, 2e-3)
    """lambda, annealed linearly (first, last): every point stands for a Gaussian around it of
    covariance lambda^2 I. The power is our reading: with lambda I the two finest frequencies would
    be blurred away for ever, to less than a hundredth."""
    blur_until: float = 1 / 3
    """Part of the run at which the last blur is reached: 5,000 of the paper's 15,000 steps."""
    num_blocks: int = 5
    """Residual blocks, of two layers each (ours; the paper says ResNet blocks)."""
    width: int = 128
    density_bias: float = -1.0
    """Added to raw density, from MultiNeRF, upon which the paper builds; it states none."""
    blob_density: float = 5.0
    """lambda_tau: peak of the Gaussian that is added to raw density."""
    blob_radius: float = 0.2
    """sigma_tau: the Gaussian's standard deviation."""
    normals: Normals = "analytic"
    normal_step: float = 0.01
    """Half the distance between the points of a difference (threestudio's)."""

    def __post_init__(self) -> None:
        check(self.bound > 0, self, "a bound above 0")
        check(self.num_frequencies >= 1, self, "at least one frequency")
        check(min(self.blur) >= 0, self, "a blur of 0 or more")
        check(0 < self.blur_until <= 1, self, "blur_until in (0, 1]")
        check(self.num_blocks >= 1 and self.width >= 1, self, "at least one block and unit")
        _check_choices(self, "normals")
        check(self.normal_step > 0, self, "a normal_step above 0")


def _check_choices(config: Any, *names: str) -> None:
    hints = get_type_hints(type(config))
    for name in names:
        known = get_args(hints[name])
        check(getattr(config, name) in known, config, f"{name} to be {' or '.join(known)}")


FieldConfig = DenseGridConfig | HashGridConfig | MipMlpConfig
