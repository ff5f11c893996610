"""What `ray job submit --working-dir .` takes along, by Ray's own packing."""

import shutil
import zipfile
from pathlib import Path

from tests.clusters import ROOT
from tests.monitoring import submission

LEFT = [
    ".git/HEAD",
    ".venv/bin/python",
    "out/demo/a.parquet",
    "tests/test_it.py",
    "pipeline/__pycache__/a.pyc",
]
TAKEN = ["README.md", "pipeline/cli.py", "pipeline/examples/demo.parquet", "engine/out/a.py"]


def test_what_is_left_at_home(tmp_path: Path) -> None:
    for name in [*LEFT, *TAKEN]:
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    for name in (".gitignore", ".rayignore"):
        shutil.copy(ROOT / name, tmp_path / "source")
    submission.packed(tmp_path / "source", tmp_path / "package.zip")
    with zipfile.ZipFile(tmp_path / "package.zip") as archive:
        assert sorted(archive.namelist()) == sorted([*TAKEN, ".gitignore", ".rayignore"])


def test_the_guide_says_how() -> None:
    words = submission.guide_words()
    assert words[:3] == ["ray", "job", "submit"]
    assert words[words.index("--working-dir") + 1] == "."
    assert words[words.index("--") + 1 :][:5] == ["python", "-m", "pipeline", "supervise", "--"]
