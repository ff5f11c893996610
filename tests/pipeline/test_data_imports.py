import ast
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import demo
from tests.pipeline.sample_assets import open_store, sample_bytes, sample_task

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "ray", "pandas", "gcsfs", "diffusers", "transformers", "aiohttp")


def loaded(script: str, *arguments: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter has loaded after the script."""
    code = f"import sys\n{script}\nprint(*(x for x in {HEAVY} if x in sys.modules))"
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(run.stdout.splitlines()[-1].split())


def test_the_check_sees_what_is_loaded() -> None:
    assert loaded("import pandas") == {"pandas"}


@pytest.mark.parametrize(
    "module",
    [
        *("manifest", "plan", "store", "status", "contact_sheet", "demo"),
        *("dataset.catalog", "dataset.asset_table", "export.export", "card.card"),
    ],
)
def test_importing_the_data_side_is_light(module: str) -> None:
    assert loaded(f"import pipeline.{module}") == set()


def test_validating_a_manifest_is_light() -> None:
    script = "from pipeline import manifest\nassert len(list(manifest.read(sys.argv[1]))) == 4"
    # pyarrow loads pandas, where it is there, to look at the Python values that it converts.
    assert loaded(script, str(demo.PATH)) <= {"pandas"}


def test_reading_a_status_is_light(tmp_path: Path) -> None:
    task = sample_task()
    open_store(str(tmp_path)).commit(task.asset_id, sample_bytes(task))
    script = (
        "from pipeline import status, store\n"
        "found = status.summarise(store.Store.open(sys.argv[1], create=False))\n"
        "assert found.num_committed == 1 and status.render(found)"
    )
    assert loaded(script, str(tmp_path)) == set()


def test_few_files_change_what_lies_in_storage() -> None:
    """By the names of the methods that write; `store.py` tells who may and in which order."""
    writes = {"create", "create_from", "publish", "publish_from", "remove"}
    writers = {
        str(path.relative_to(ROOT / "pipeline"))
        for path in (ROOT / "pipeline").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in writes
        and ast.unparse(node.value).rpartition(".")[2].lstrip("_") == "objects"
    }
    of_dataset = {"documents", "lease", "catalog", "scores", "packing", "snapshots", "garbage"}
    assert writers == {"store.py", "compact.py", *(f"dataset/{name}.py" for name in of_dataset)}
