"""Cameras: where the views of a step are drawn from. Conventions as in `engine.recipe`."""

from dataclasses import dataclass

from engine.configs.common import Span, check


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
        check(self.elevation_deg[0] <= self.elevation_deg[1], self, "elevation low <= high")
        check(0 < self.radius[0] <= self.radius[1], self, "0 < radius low <= high")
        check(0 < self.fov_y_deg[0] <= self.fov_y_deg[1] < 180, self, "field of view in (0, 180)")
