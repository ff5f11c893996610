import pytest
import torch
from torch import Tensor

from engine.primitives.softness import soften


def enlarged(row: list[float]) -> list[float]:
    """A row of pixels twice as long: values at quarters between the old pixels' centres."""
    found: list[float] = []
    for k in range(2 * len(row)):
        at = min(max((k + 0.5) / 2 - 0.5, 0.0), len(row) - 1.0)
        low = min(int(at), len(row) - 2)
        found.append(row[low] + (at - low) * (row[low + 1] - row[low]))
    return found


def softened(x: Tensor) -> Tensor:
    """One channel by loops: means over squares, enlarged along rows, then along columns."""
    size = len(x)
    coarse = [
        [float(x[i : i + 2, j : j + 2].mean()) for j in range(0, size, 2)]
        for i in range(0, size, 2)
    ]
    wide = torch.tensor([enlarged(row) for row in coarse])
    return torch.tensor([enlarged(column) for column in wide.T.tolist()]).T


def test_a_soft_picture_has_half_its_resolution() -> None:
    x = torch.rand(2, 3, 8, 8)
    found = soften(x, 1.0)
    for picture in range(2):
        for channel in range(3):
            torch.testing.assert_close(found[picture, channel], softened(x[picture, channel]))


def test_nothing_is_softened_at_share_zero_and_a_plain_picture_never_changes() -> None:
    x = torch.rand(4, 3, 6, 6)
    assert torch.equal(soften(x, 0.0), x)
    plain = torch.rand(4, 3, 1, 1).expand(4, 3, 6, 6)
    torch.testing.assert_close(soften(plain, 1.0), plain)


def test_a_share_of_the_pictures_is_softened_each_wholly() -> None:
    x = torch.rand(3000, 3, 4, 4)
    changed = (soften(x, 0.3) != x).flatten(1)
    assert torch.equal(changed.any(dim=1), changed.float().mean(dim=1) > 0.9)
    assert float(changed.any(dim=1).float().mean()) == pytest.approx(0.3, abs=0.03)
