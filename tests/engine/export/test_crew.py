import subprocess
import sys

import pytest

from engine.export import crew


@pytest.mark.parametrize(
    ("num_cores", "expected"), [(1, 1), (2, 1), (3, 1), (4, 2), (6, 3), (16, 6), (128, 6)]
)
def test_two_cores_each_up_to_a_bound(num_cores: int, expected: int) -> None:
    assert crew.size(num_cores, is_gpu=True) == expected


@pytest.mark.parametrize("num_cores", [1, 2, 64])
def test_one_where_the_gang_needs_the_cores(num_cores: int) -> None:
    assert crew.size(num_cores, is_gpu=False) == 1


def test_asking_loads_no_torch() -> None:
    program = "import engine.export.crew, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
