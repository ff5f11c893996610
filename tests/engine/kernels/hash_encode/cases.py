"""What the tests of this op share: shapes, and kernels that keep a record."""

from collections.abc import Callable

import torch
from torch import Tensor

RESOLUTIONS = [3, 5, 11]
"""With 256 rows a level: 4^3 and 6^3 corners fit, 12^3 are hashed."""
SIZE = 256


class Recorder:
    """Stands for a kernel; what it was launched with is kept."""

    def __init__(self, kernel: object) -> None:
        self._kernel = kernel
        self.launches: list[dict[str, object]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., object]:
        def launched(*args: object, **kwargs: object) -> object:
            self.launches.append(kwargs)
            return self._kernel[grid](*args, **kwargs)  # pyright: ignore[reportIndexIssue]

        return launched


def drawn(
    num_scenes: int, num_points: int, features: int, device: torch.device, num_levels: int = 3
) -> tuple[Tensor, Tensor]:
    """Tables, and points on a lattice of 1/512, some of them outside the cube."""
    tables = torch.randn(num_scenes, num_levels, SIZE, features, device=device)
    x = torch.randint(-600, 601, (num_scenes, num_points, 3), device=device) / 512
    return tables.requires_grad_(), x.requires_grad_()


def double(*tensors: Tensor) -> list[Tensor]:
    return [t.detach().double().requires_grad_(t.requires_grad) for t in tensors]
