import subprocess
import sys
from pathlib import Path

from tests.pipeline.packed import commit_large
from tests.pipeline.sample_assets import open_store

ROOT = Path(__file__).parents[2]

_MEMORY = """
import sys
from pipeline import compact, memory
from pipeline.dataset import packing
from tests.pipeline.sample_assets import open_store

packing.ROW_GROUP_BYTES = 2_000_000
compact.compact(open_store(sys.argv[1]), partition_by="collection")
print(memory.peak_bytes())
"""


def test_memory_does_not_grow_with_the_number_of_assets(tmp_path: Path) -> None:
    peaks: list[int] = []
    for number in (40, 400):
        path = tmp_path / str(number)
        commit_large(open_store(str(path)), range(number), 200_000)
        command = [sys.executable, "-c", _MEMORY, str(path)]
        child = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
        peaks.append(int(child.stdout))
        (packed,) = path.glob("packed/*/*.parquet")
        assert packed.stat().st_size > number * 200_000
    assert peaks[1] - peaks[0] < 30_000_000
