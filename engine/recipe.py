"""The recipe of an asset: everything that shapes the result, except the prompt and the seed.

A recipe is a tree of frozen dataclasses that check themselves; `engine.recipes` holds functions
that return whole recipes. Lengths are in scene units (the object fills the unit sphere), angles in
degrees, `t` is diffusion time in (0, 1), a `Span` is (low, high) of a uniform draw. A value that is
annealed over a run is a pair (first, last) and says so.

Loss scale: for a picture x in [-1, 1], dL/dx = w(t) (eps_hat - eps), summed over pixels and
channels and averaged over views; every regulariser is a mean over rays (or cells) times its weight.
Regularisers tuned for that gradient weigh more beside the full one, whose size is another.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from typing import Any, Literal, get_args, get_type_hints

Span = tuple[float, float]
_Form = Literal["interpolate", "extrapolate"]
_Weighting = Literal["sigma_squared", "uniform"]
_Gradient = Literal["score", "full"]


def _check(condition: bool, owner: object, what: str) -> None:
    if not condition:
        raise ValueError(f"{type(owner).__name__}: expected {what}; got {owner}")


@dataclass(frozen=True, kw_only=True)
class DenseGridConfig:
    """Density and albedo on a sum of dense lattices, read by trilinear interpolation."""

    kind: Literal["dense_grid"] = "dense_grid"
    resolutions: tuple[int, ...] = (16, 64)
    """Lattice points per side, coarse to fine."""
    density_gain: float = 10.0
    """Factor on raw density; with Adam it sets how much faster density moves than colour."""
    blob_density: float = 10.0
    """Peak of the initial density blob, per scene unit (Magic3D's form, arXiv 2211.10440)."""
    blob_radius: float = 0.5
    """Distance from the origin at which the blob's bias reaches zero."""

    def __post_init__(self) -> None:
        _check(all(n >= 2 for n in self.resolutions), self, "at least 2 lattice points per side")


@dataclass(frozen=True, kw_only=True)
class HashGridConfig:
    """Multiresolution hash encoding and a small MLP (Instant NGP, arXiv 2201.05989)."""

    kind: Literal["hash_grid"] = "hash_grid"
    num_levels: int = 12
    features: int = 2
    """Features an entry."""
    log2_size: int = 16
    """log2 of the entries a level."""
    base_resolution: int = 8
    finest_resolution: int = 256
    hidden: int = 64
    """Width of the MLP's single hidden layer."""
    blob_density: float = 10.0
    blob_radius: float = 0.5

    def __post_init__(self) -> None:
        _check(self.num_levels >= 2, self, "num_levels of 2 or more")
        _check(
            self.base_resolution < self.finest_resolution, self, "base_resolution below the finest"
        )


FieldConfig = DenseGridConfig | HashGridConfig


@dataclass(frozen=True, kw_only=True)
class CameraConfig:
    """Where the views of a step are drawn from (DreamFusion, arXiv 2209.14988, section 3.2)."""

    elevation_deg: Span = (-10.0, 90.0)
    """Half of the draws are uniform in angle, half uniform in area, over this range."""
    radius: Span = (1.8, 2.6)
    fov_y_deg: Span = (40.0, 55.0)
    position_jitter: float = 0.05
    """The position moves by U(-jitter, jitter) along each axis."""
    target_jitter: float = 0.05
    """Standard deviation of the point looked at."""
    up_jitter: float = 0.02
    """Standard deviation of the up vector."""

    def __post_init__(self) -> None:
        _check(self.elevation_deg[0] <= self.elevation_deg[1], self, "elevation low <= high")
        _check(0 < self.radius[0] <= self.radius[1], self, "0 < radius low <= high")
        _check(0 < self.fov_y_deg[0] <= self.fov_y_deg[1] < 180, self, "field of view in (0, 180)")


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
            _check(0 <= probability <= 1, self, "probabilities in [0, 1]")


@dataclass(frozen=True, kw_only=True)
class MarchConfig:
    """How samples are placed along a ray."""

    num_samples: int = 32
    """Samples a ray, always; they share the occupied part of the ray among themselves."""
    num_bins: int = 64
    """Equal stretches of the ray between which occupancy is told apart."""
    grid_size: int = 32
    """Cells per side of the occupancy grid."""
    density_floor: float = 0.5
    """Density under which a cell counts as empty."""
    refresh: int = 16
    """Steps within which every cell of the occupancy grid is measured again."""

    def __post_init__(self) -> None:
        _check(self.num_samples >= 1 and self.num_bins >= 1, self, "at least one sample and bin")
        _check(self.grid_size >= 2 and self.grid_size % 2 == 0, self, "an even grid_size")
        _check(self.refresh >= 1, self, "refresh of 1 or more")
        _check(self.grid_size**3 % self.refresh == 0, self, "refresh that divides grid_size^3")


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """Score distillation (DreamFusion, eq. 3) with classifier-free guidance."""

    scale: float = 20.0
    """Guidance scale s."""
    form: _Form = "interpolate"
    """interpolate: uncond + s (cond - uncond). extrapolate: cond + s (cond - uncond), the paper's
    (1 + w) form, which means one more at the same number."""
    t_min: float = 0.02
    t_max: Span = (0.98, 0.5)
    """Largest t, annealed linearly (first, last) over the run."""
    weighting: _Weighting = "sigma_squared"
    """w(t): sigma_t^2, or 1."""
    gradient: _Gradient = "score"
    """score: w (eps_hat - eps). full: the diffusion loss w/2 |eps_hat - eps|^2 differentiated
    through the model, w alpha_t (d eps_hat / d z_t)^T (eps_hat - eps)."""

    def __post_init__(self) -> None:
        _check(0 < self.t_min < min(self.t_max), self, "0 < t_min < t_max")
        _check(max(self.t_max) < 1, self, "t_max below 1")
        choices = (("form", _Form), ("weighting", _Weighting), ("gradient", _Gradient))
        for name, hint in choices:
            known = get_args(hint)
            _check(getattr(self, name) in known, self, f"{name} to be {' or '.join(known)}")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the regularisers; 0 switches one off. Sources are in `engine.losses`."""

    opacity: float = 0.0
    entropy: Span = (0.0, 0.0)
    """Annealed (first, last)."""
    total_variation: float = 0.0
    orientation: float = 0.0

    def __post_init__(self) -> None:
        weights = (self.opacity, *self.entropy, self.total_variation, self.orientation)
        _check(all(w >= 0 for w in weights), self, "weights of 0 or more")


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """Adam (arXiv 1412.6980), its rate annealed by a cosine."""

    lr: Span = (0.02, 0.004)
    """Learning rate, annealed (first, last)."""
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-15

    def __post_init__(self) -> None:
        _check(min(self.lr) > 0, self, "learning rates above 0")
        _check(all(0 <= b < 1 for b in self.betas), self, "betas in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """What an asset contains."""

    num_views: int = 8
    """Cameras on a ring, at azimuth k 360 / num_views."""
    view_size: int = 128
    view_elevation_deg: float = 20.0
    view_radius: float = 2.4
    view_fov_deg: float = 45.0
    view_samples: int = 192
    grid_size: int = 96
    """Lattice points per side from which the mesh is drawn."""
    density_level: float = 10.0
    """Density of the mesh's surface, per scene unit."""
    max_faces: int = 20_000
    turntable_frames: int = 24
    turntable_size: int = 96

    def __post_init__(self) -> None:
        _check(self.num_views >= 4 and self.num_views % 4 == 0, self, "a multiple of 4 views")
        _check(self.view_size >= 8 and self.grid_size >= 8, self, "sizes of 8 or more")
        _check(self.density_level > 0, self, "a density_level above 0")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides how a prompt becomes an asset."""

    name: str
    summary: str
    """One line for people."""
    guidance: str
    """The diffusion model it is tuned for: `primitives`, or a directory."""
    iterations: int
    views: int
    """Views of each scene a step."""
    render_size: int
    """Side of a rendered view in pixels; it is enlarged to the diffusion model's size."""
    num_slots: int = 1
    """Scenes a GPU optimises together, unless the user says otherwise. Not part of the digest."""
    field: FieldConfig
    camera: CameraConfig = CameraConfig()
    shading: ShadingConfig = ShadingConfig()
    march: MarchConfig = MarchConfig()
    distillation: DistillationConfig = DistillationConfig()
    losses: LossConfig = LossConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    export: ExportConfig = ExportConfig()

    def __post_init__(self) -> None:
        _check(self.iterations >= 1 and self.views >= 1, self, "at least one step and one view")
        _check(self.render_size >= 8, self, "render_size of 8 or more")
        _check(self.num_slots >= 1, self, "at least one slot")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Recipe":
        """The recipe that `to_dict` described. Raises ValueError at a name it does not know."""
        return _build(cls, data)

    @classmethod
    def field_from_dict(cls, data: Mapping[str, Any]) -> FieldConfig:
        """The field's configuration alone, as an asset stores it beside the parameters."""
        return _value(get_type_hints(cls)["field"], data)

    def digest(self) -> str:
        """sha256 of what shapes the asset; slots, summary and the model's name are left out.

        The weights of the diffusion model enter an asset's identity by a digest of their own.
        """
        data = self.to_dict()
        for key in ("num_slots", "summary", "guidance"):
            del data[key]
        text = json.dumps(data, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def _build(cls: Any, data: Mapping[str, Any]) -> Any:
    hints = get_type_hints(cls)
    unknown = sorted(set(data) - {f.name for f in fields(cls)})
    if unknown:
        raise ValueError(
            f"{cls.__name__}: unknown setting {', '.join(unknown)}; "
            "the recipe was written by another version of dreambatch"
        )
    missing = sorted(f.name for f in fields(cls) if f.default is MISSING and f.name not in data)
    if missing:
        raise ValueError(
            f"{cls.__name__}: missing setting {', '.join(missing)}; "
            "the recipe was written by another version of dreambatch"
        )
    return cls(**{key: _value(hints[key], value) for key, value in data.items()})


def _value(hint: Any, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, Mapping):
        return value
    kinds = [c for c in (get_args(hint) or (hint,)) if is_dataclass(c)]
    if len(kinds) > 1:
        kinds = [c for c in kinds if value.get("kind") in get_args(get_type_hints(c)["kind"])]
    if not kinds:
        raise ValueError(f"recipe: unknown kind {value.get('kind')!r}")
    return _build(kinds[0], value)
