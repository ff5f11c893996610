import subprocess
import sys

import numpy as np

from pipeline.memory import peak_bytes

CODE = "from pipeline.memory import peak_bytes; print(peak_bytes())"
MUCH = 300_000_000


def test_what_is_taken_counts_after_it_is_given_back() -> None:
    ones = np.ones(MUCH, np.uint8)
    assert ones.sum() == MUCH
    del ones
    assert peak_bytes() >= MUCH


def test_what_the_parent_takes_does_not_count() -> None:
    ones = np.ones(MUCH, np.uint8)
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert ones[-1] == 1
    assert 2_000_000 < int(done.stdout) < MUCH
