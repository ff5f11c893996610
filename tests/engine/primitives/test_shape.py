import pytest
import torch

from engine.primitives.shape import Proportions, quarters
from engine.primitives.solids import points


def test_a_proportion_is_a_length_between_its_bounds() -> None:
    u = Proportions(torch.tensor([[0.0, 0.5], [1.0, 0.25]]))
    assert u(0, 0.2, 0.6)[:, 0].tolist() == pytest.approx([0.2, 0.6])
    assert u(1, -1.0, 3.0)[:, 0].tolist() == pytest.approx([1.0, 0.0])
    assert u(0, 0.2, 0.6).shape == (2, 1)


def test_a_fin_at_x_becomes_four() -> None:
    ways = torch.tensor([[[0.9, 0.1, 0.3], [-0.9, 0.1, 0.3], [0.1, 0.9, 0.3], [-0.1, -0.9, 0.3]]])
    folded = torch.stack(quarters(points(ways)), dim=-1)
    torch.testing.assert_close(folded, torch.tensor([0.9, 0.1, 0.3]).expand(1, 4, 3))
