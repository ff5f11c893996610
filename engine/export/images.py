"""Arrays to picture files; the encodings that the dataset promises, and their inverses' terms.

All arrays are on any device, h x w, row 0 on top; the bytes depend on the numbers alone.
"""

import io
import math

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

_DEPTH_STEPS = 2**16 - 1
_WEBP_QUALITY = 92


def rgba_png(albedo: Float[Tensor, "h w 3"], alpha: Float[Tensor, "h w"]) -> bytes:
    """8-bit RGBA with straight alpha."""
    return png(Image.fromarray(np.dstack([_to_8_bit(albedo), _to_8_bit(alpha)])))


def depth_scale(far: float) -> float:
    """Scene units of one step of a depth picture: the power of ten that lets `far` fit."""
    return 10.0 ** math.ceil(math.log10(far / _DEPTH_STEPS))


def depth_png(depth: Float[Tensor, "h w"], scale: float) -> bytes:
    """16-bit grey: value = depth / scale, rounded; 0 stays 0."""
    return png(Image.fromarray((depth / scale).round().cpu().numpy().astype(np.uint16)))


def normal_png(normal: Float[Tensor, "h w 3"]) -> bytes:
    """8-bit RGB: (n + 1) / 2; a zero vector becomes grey (128)."""
    return png(Image.fromarray(_to_8_bit(0.5 * normal + 0.5)))


def on_white(albedo: Float[Tensor, "h w 3"], alpha: Float[Tensor, "h w"]) -> Image.Image:
    """8-bit RGB over a white background."""
    return Image.fromarray(_to_8_bit(albedo * alpha[..., None] + (1.0 - alpha[..., None])))


def _to_8_bit(x: Float[Tensor, "*s"]) -> UInt8[np.ndarray, "*s"]:
    return (x * 255.0).round().cpu().numpy().astype(np.uint8)


def png(image: Image.Image) -> bytes:
    """The picture as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def webp(image: Image.Image) -> bytes:
    """The picture as WebP, lossy, so good that the eye sees no difference."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=_WEBP_QUALITY)
    return buffer.getvalue()
