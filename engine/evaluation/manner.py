"""How recipes are run: what changes the speed of scenes and their rounding, and not what is asked.

with manner.surroundings():
    gang = Gang(recipe, manner.load(path, device), capture=manner.captured, ...)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from engine import kernels
from engine.guidance.pixel import PixelGuidance


@dataclass(frozen=True, kw_only=True)
class Manner:
    """A way to run any recipe; as it is, that of a gang of all scenes."""

    slots: int | None = None
    """Scenes optimised together; None: all there are."""
    is_exact: bool = False
    """All in float32: the U-Net, too, and references in the place of kernels."""
    compiled: bool = False
    """Whether the U-Net is."""
    captured: bool = True
    """Steps are recorded as CUDA graphs (`engine.replay`)."""

    def __post_init__(self) -> None:
        if self.slots is not None and self.slots < 1:
            raise ValueError(f"slots: expected 1 or more, got {self.slots}")

    def load(self, path: Path, device: torch.device) -> PixelGuidance:
        """The model of a pipeline directory."""
        dtype = torch.float32 if self.is_exact else None
        return PixelGuidance.load(path, device=device, dtype=dtype, compiled=self.compiled)

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        """What holds in this process while scenes are made."""
        if not self.is_exact:
            yield
            return
        # Convolutions of float32 are products of 10-bit mantissas on a GPU, unless this says no.
        was_allowed = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = False
        try:
            with kernels.held_off():
                yield
        finally:
            torch.backends.cudnn.allow_tf32 = was_allowed
