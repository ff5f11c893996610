"""Cameras: poses on orbits and the rays through their pixels.

World: right-handed, +Z up; the object's front faces +X. Azimuth 0 is the front, counter-clockwise
seen from above; elevation 0 is the horizon; both in degrees. Cameras are OpenGL: X right, Y up,
looking along -Z; `c2w` maps camera to world. Pixel centres lie at +0.5, row 0 is the top row.
"Depth" along a ray is the distance from the camera; z-depth is its part along the viewing axis.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Cameras:
    """A batch of pinhole cameras with square pictures, principal point in the centre."""

    c2w: Float[Tensor, "*b 4 4"]
    """Camera-to-world transforms."""
    focal: Float[Tensor, "*b"]
    """Focal length in pixels, the same in x and y."""
    size: int
    """Height and width of the picture in pixels."""

    def resized(self, size: int) -> "Cameras":
        """The same field of view in a picture of another size."""
        return Cameras(c2w=self.c2w, focal=self.focal * (size / self.size), size=size)


def orbit_position(
    azimuth_deg: Float[Tensor, "*b"],
    elevation_deg: Float[Tensor, "*b"],
    radius: Float[Tensor, "*b"],
) -> Float[Tensor, "*b 3"]:
    """Cartesian position of a point given by azimuth, elevation (degrees) and radius."""
    azimuth, elevation = torch.deg2rad(azimuth_deg), torch.deg2rad(elevation_deg)
    level = radius * elevation.cos()
    return torch.stack(
        [level * azimuth.cos(), level * azimuth.sin(), radius * elevation.sin()], dim=-1
    )


def look_at(
    position: Float[Tensor, "*b 3"],
    target: Float[Tensor, "*b 3"],
    up: Float[Tensor, "*#b 3"],
) -> Float[Tensor, "*b 4 4"]:
    """Camera-to-world transform of a camera at `position` that looks at `target`.

    `up` fixes the roll. Looking straight along it leaves the roll free; -X, the limit of the front
    camera's picture that climbs to the pole, then stands in for it.
    """
    back = torch.nn.functional.normalize(position - target, dim=-1)
    right = torch.linalg.cross(up.expand_as(back), back)
    is_pole = right.norm(dim=-1, keepdim=True) < 1e-4
    # -X x back, written out: a constant from the host would make a GPU wait.
    fallback = torch.stack([torch.zeros_like(back[..., 0]), back[..., 2], -back[..., 1]], dim=-1)
    right = torch.nn.functional.normalize(torch.where(is_pole, fallback, right), dim=-1)
    upward = torch.linalg.cross(back, right)
    rotation_translation = torch.stack([right, upward, back, position], dim=-1)
    c2w = torch.nn.functional.pad(rotation_translation, (0, 0, 0, 1))
    c2w[..., 3, 3] = 1.0
    return c2w


def focal_of(fov_y_deg: Float[Tensor, "*b"], size: int) -> Float[Tensor, "*b"]:
    """Focal length in pixels: f = size / (2 tan(fov / 2))."""
    return 0.5 * size / torch.tan(0.5 * torch.deg2rad(fov_y_deg))


def orbit(
    azimuth_deg: Float[Tensor, "*b"],
    elevation_deg: Float[Tensor, "*b"],
    radius: Float[Tensor, "*b"],
    fov_y_deg: Float[Tensor, "*b"],
    size: int,
) -> Cameras:
    """Upright cameras on a sphere around the origin that look at it."""
    position = orbit_position(azimuth_deg, elevation_deg, radius)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=position.dtype, device=position.device)
    c2w = look_at(position, torch.zeros_like(position), up)
    return Cameras(c2w=c2w, focal=focal_of(fov_y_deg, size), size=size)


def _pixel_directions(cameras: Cameras) -> Float[Tensor, "*b h w 3"]:
    """Directions through the pixel centres in the camera frame, with z = -1."""
    focal = cameras.focal
    offset = torch.arange(cameras.size, dtype=focal.dtype, device=focal.device)
    offset = (offset + 0.5 - 0.5 * cameras.size) / focal[..., None]
    shape = (*focal.shape, cameras.size, cameras.size)
    x = offset[..., None, :].expand(shape)
    y = -offset[..., :, None].expand(shape)
    return torch.stack([x, y, torch.full_like(x, -1.0)], dim=-1)


def rays(
    cameras: Cameras,
) -> tuple[Float[Tensor, "*b h w 3"], Float[Tensor, "*b h w 3"]]:
    """Origins and unit directions, in the world frame, of the rays through all pixel centres."""
    local = _pixel_directions(cameras)
    rotation = cameras.c2w[..., :3, :3]
    directions = torch.einsum("...ij,...hwj->...hwi", rotation, local)
    directions = torch.nn.functional.normalize(directions, dim=-1)
    origins = cameras.c2w[..., None, None, :3, 3].expand_as(directions)
    return origins, directions


def z_scale(cameras: Cameras) -> Float[Tensor, "*b h w"]:
    """Factor that turns distance along a pixel's unit ray into z-depth."""
    return 1.0 / _pixel_directions(cameras).norm(dim=-1)
