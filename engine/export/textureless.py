"""A view without its colours, made from the view itself when somebody asks.

White, in the light of a lamp at the camera: (ambient + diffuse max(0, n . v)), with n the normal of
the view's own normal picture and v the unit vector from the surface to the camera. Nothing about it
is stored, because nothing new is in it.
"""

import io

import numpy as np
from PIL import Image

from engine.export.asset import View
from engine.export.images import png

AMBIENT, DIFFUSE = 0.3, 0.7


def textureless(view: View) -> bytes:
    """PNG, RGBA of 8 bits: grey with straight alpha, the view's own."""
    alpha = _decoded(view.image)[..., 3]
    normal = _decoded(view.normal) / 127.5 - 1.0
    length = np.linalg.norm(normal, axis=-1)
    # Eight bits cannot say zero: where there is no normal, they say less than a hundredth.
    has_normal = length > 0.5
    normal /= np.where(has_normal, length, 1.0)[..., None]
    x = (np.arange(view.w) + 0.5 - view.cx) / view.fl_x
    y = -(np.arange(view.h) + 0.5 - view.cy) / view.fl_y
    local = np.stack([*np.meshgrid(x, y), np.full((view.h, view.w), -1.0)], axis=-1)
    directions = local @ np.array(view.c2w).reshape(4, 4)[:3, :3].T
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    cosine = np.where(has_normal, -(normal * directions).sum(axis=-1), 0.0)
    grey = np.rint(255.0 * (AMBIENT + DIFFUSE * cosine.clip(0.0))).astype(np.uint8)
    return png(Image.fromarray(np.dstack([grey, grey, grey, alpha])))


def _decoded(picture: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(picture)) as image:
        return np.asarray(image)
