import math

import pytest
import torch

from engine.export import lattice
from engine.export.subject import density_at

from .subjects import Solids, figure


def test_samples_lie_at_the_cell_centres():
    axis = lattice.centres(4, 2.0, torch.device("cpu"))
    assert axis.tolist() == [-1.5, -0.5, 0.5, 1.5]


@pytest.mark.parametrize("size", [7, 65])
def test_sample_agrees_with_single_queries(size: int):
    scene = figure()
    samples = lattice.sample(scene, size)
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(size, (200, 3), generator=generator)
    x = (index + 0.5) * (2.0 / size) - 1.0
    found = samples.density[index[:, 0], index[:, 1], index[:, 2]]
    torch.testing.assert_close(found, density_at(scene, x), atol=0.05, rtol=1e-4)
    assert samples.size == size
    assert samples.spacing == pytest.approx(2.0 / size)


def test_a_diverged_scene_is_refused():
    class Diverged(Solids):
        def density(self, x: torch.Tensor) -> torch.Tensor:
            return torch.where(x[:, 0] > 0.9, math.nan, super().density(x))

    with pytest.raises(ValueError, match=r"expected finite numbers, got \d+ of 4096"):
        lattice.sample(Diverged(parts=figure().parts), 16)
