"""What export costs, in CPU seconds, which neighbours on the machine do not change much."""

import dataclasses

import pytest

from .bench_mesh import CONFIG, bumpy, cpu_seconds


@pytest.mark.slow
def test_a_large_mesh_with_a_large_texture_takes_less_than_eight_seconds_of_one_core():
    found = cpu_seconds(bumpy(), CONFIG)
    assert found["faces"] > 49_000
    assert sum(found[name] for name in ("mesh", "texture", "glb", "elsewhere")) < 8.0


def test_a_small_one_is_cheap():
    """The embedded world's: 5,000 faces, 256 texels a side."""
    config = dataclasses.replace(CONFIG, grid_size=96, max_faces=5000, texture_size=256)
    found = cpu_seconds(bumpy(48), config)
    assert 4900 < found["faces"] <= 5000
    assert found["bytes"] < 400_000
    assert found["texture"] < 1.0
