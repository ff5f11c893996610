"""Cameras: where the views of a step are drawn from. Conventions as in `engine.recipe`."""

from dataclasses import dataclass
from typing import Literal, get_args

from engine.configs.common import Span, check

_Lens = Literal["field_of_view", "focal"]


@dataclass(frozen=True, kw_only=True)
class CameraConfig:
    """Where the views of a step are drawn from (DreamFusion, arXiv 2209.14988, section 3.2).

    A view's elevation is uniform in angle or uniform in area on the sphere, as a fair coin falls.
    """

    elevation_deg: Span = (-10.0, 90.0)
    """Range of the draws that are uniform in angle."""
    area_elevation_deg: Span = (-10.0, 90.0)
    """Range of the draws that are uniform in area."""
    stratified_azimuth: bool = True
    """Whether a step's azimuths lie one in each of equal sectors, as threestudio's do; otherwise
    they are independent."""
    radius: Span = (1.8, 2.6)
    lens: _Lens = "field_of_view"
    """What is drawn: the vertical field of view, or the focal length."""
    fov_y_deg: Span = (40.0, 55.0)
    """Used by the lens `field_of_view`."""
    focal: Span = (0.7, 1.35)
    """Focal length over the picture's width. Used by the lens `focal`."""
    position_jitter: float = 0.05
    """The position moves by U(-jitter, jitter) along each axis."""
    target_jitter: float = 0.05
    """Standard deviation of the point looked at, along each axis."""
    up_jitter: float = 0.02
    """Standard deviation of the up vector, along each axis."""

    def __post_init__(self) -> None:
        for span in (self.elevation_deg, self.area_elevation_deg):
            check(-90 <= span[0] <= span[1] <= 90, self, "-90 <= elevation low <= high <= 90")
        check(0 < self.radius[0] <= self.radius[1], self, "0 < radius low <= high")
        check(self.lens in get_args(_Lens), self, "lens to be field_of_view or focal")
        check(0 < self.fov_y_deg[0] <= self.fov_y_deg[1] < 180, self, "field of view in (0, 180)")
        check(0 < self.focal[0] <= self.focal[1], self, "0 < focal low <= high")
        jitters = (self.position_jitter, self.target_jitter, self.up_jitter)
        check(all(jitter >= 0 for jitter in jitters), self, "jitters of 0 or more")
