"""The recipe of an asset: everything that shapes the result, except the prompt and the seed.

A recipe is a tree of frozen dataclasses that check themselves, its parts in `engine.configs`;
`engine.recipes` holds functions that return whole recipes. Lengths are in scene units (the object
fills the unit sphere), angles in degrees, `t` is diffusion time in (0, 1), a `Span` is (low, high)
of a uniform draw. A value that is annealed over a run is a pair (first, last) and says so.

Loss scale: for a picture x in [-1, 1], dL/dx = w(t) (eps_hat - eps), summed over pixels and
channels and averaged over views; every regulariser is a mean over rays (or cells) times its weight.
Regularisers tuned for that gradient weigh more beside the full one, whose size is another.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from dataclasses import field as part
from typing import Any, Literal, get_args, get_origin, get_type_hints

from engine.configs.background import BackgroundConfig
from engine.configs.cameras import CameraConfig
from engine.configs.common import check
from engine.configs.distillation import DistillationConfig
from engine.configs.export import ExportConfig
from engine.configs.fields import FieldConfig
from engine.configs.losses import LossConfig
from engine.configs.march import MarchConfig
from engine.configs.optimiser import OptimiserConfig
from engine.configs.shading import ShadingConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides how a prompt becomes an asset."""

    name: str
    summary: str
    """One line for people."""
    guidance: str
    """The diffusion model it is tuned for: `primitives`, a hub id, a directory or a URL."""
    iterations: int
    views: int
    """Views of each scene a step."""
    render_size: int
    """Side of a rendered view in pixels; it is enlarged to the diffusion model's size."""
    num_slots: int = 1
    """Scenes a GPU optimises together, unless the user says otherwise. Not part of the digest."""
    field: FieldConfig
    camera: CameraConfig = part(default_factory=CameraConfig)
    shading: ShadingConfig = part(default_factory=ShadingConfig)
    march: MarchConfig = part(default_factory=MarchConfig)
    background: BackgroundConfig = part(default_factory=BackgroundConfig)
    distillation: DistillationConfig = part(default_factory=DistillationConfig)
    losses: LossConfig = part(default_factory=LossConfig)
    optimiser: OptimiserConfig = part(default_factory=OptimiserConfig)
    export: ExportConfig = part(default_factory=ExportConfig)

    def __post_init__(self) -> None:
        check(self.iterations >= 1 and self.views >= 1, self, "at least one step and one view")
        check(self.render_size >= 8, self, "render_size of 8 or more")
        check(self.num_slots >= 1, self, "at least one slot")

    @property
    def needs_normals(self) -> bool:
        """Whether anything in it looks at surface normals."""
        return self.shading.shaded > 0 or any(self.losses.orientation)

    @property
    def evaluations_a_step(self) -> int:
        """Guided pairs of the diffusion model for a scene: one a view, two under Perp-Neg."""
        return self.views * (2 if self.distillation.perp_neg else 1)

    @property
    def evaluations(self) -> int:
        """Those of a scene's whole run."""
        return self.iterations * self.evaluations_a_step

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Recipe":
        """The recipe that `to_dict` described.

        Raises ValueError at a name it does not know and at a value of the wrong kind.
        """
        return _build(cls, data)

    @classmethod
    def field_from_dict(cls, data: Mapping[str, Any]) -> FieldConfig:
        """The field's configuration alone, as an asset stores it beside the parameters."""
        return _value(get_type_hints(cls)["field"], data, "field")

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
            "it is mistyped, or written by another version of dreambatch"
        )
    missing = sorted(
        f.name
        for f in fields(cls)
        if f.default is MISSING and f.default_factory is MISSING and f.name not in data
    )
    if missing:
        raise ValueError(
            f"{cls.__name__}: missing setting {', '.join(missing)}; "
            "it is mistyped, or written by another version of dreambatch"
        )
    return cls(
        **{key: _value(hints[key], value, f"{cls.__name__}.{key}") for key, value in data.items()}
    )


def _value(hint: Any, value: Any, path: str) -> Any:
    kinds = [c for c in (get_args(hint) or (hint,)) if is_dataclass(c)]
    if kinds and isinstance(value, Mapping):
        if len(kinds) > 1:
            kinds = [c for c in kinds if value.get("kind") in get_args(get_type_hints(c)["kind"])]
        if not kinds:
            raise ValueError(f"recipe: unknown kind {value.get('kind')!r}")
        return _build(kinds[0], value)
    if get_origin(hint) is tuple and isinstance(value, Sequence) and not isinstance(value, str):
        return _several(get_args(hint), value, path)
    if get_origin(hint) is Literal and value in get_args(hint):
        return value
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return _float(value, path)
    if type(value) is hint:
        return value
    wanted = getattr(hint, "__name__", str(hint)) if isinstance(hint, type) else str(hint)
    raise ValueError(f"{path}: expected {wanted.removeprefix('typing.')}, got {value!r}")


def _float(value: float, path: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ValueError(
            f"{path}: expected a smaller number, got one of 309 digits or more"
        ) from None


def _several(hints: tuple[Any, ...], values: Sequence[Any], path: str) -> tuple[Any, ...]:
    if hints[-1] is Ellipsis:
        hints = hints[:1] * len(values)
    if len(values) != len(hints):
        raise ValueError(f"{path}: expected {len(hints)} values, got {values!r}")
    return tuple(_value(hint, value, path) for hint, value in zip(hints, values, strict=True))
