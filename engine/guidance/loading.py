"""From the directory of a diffusion model to its guidance, whichever space it works in."""

from pathlib import Path

import torch

from engine.guidance import files
from engine.guidance.latent import LatentGuidance
from engine.guidance.pixel import PixelGuidance


def load_guidance(
    path: str | Path,
    *,
    device: torch.device | str,
    dtype: torch.dtype | None = None,
    compiled: bool = False,
    with_texts: bool = True,
) -> PixelGuidance | LatentGuidance:
    """Pixel-space or latent guidance, by the channels of the U-Net.

    Without texts the text encoder is not read: requests bring embedded texts along. Raises
    ValueError, in one line with the mend, if a file is missing or wrongly shaped.
    """
    kind = PixelGuidance if files.space_of(Path(path)) == "pixel" else LatentGuidance
    return kind.load(path, device=device, dtype=dtype, compiled=compiled, with_texts=with_texts)
