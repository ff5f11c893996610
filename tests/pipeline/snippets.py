"""Code out of a text, run as its reader would run it: in a process of its own, in a directory."""

import os
import re
import subprocess
import sys
from pathlib import Path

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def python_blocks(text: str) -> list[str]:
    """The Python code of a Markdown text."""
    return _BLOCK.findall(text)


def run(blocks: list[str], directory: Path, cache: Path) -> str:
    """Runs them one after the other, offline, warnings being errors; returns what they print."""
    environment = {**os.environ, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "1"}
    environment |= {"HF_DATASETS_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", "\n".join(blocks)],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
