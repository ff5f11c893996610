"""`ray job submit --working-dir .` as the guide says it, and what Ray packs for it."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.clusters import ROOT, Head, driver_environment

GUIDE = ROOT / "k8s" / "README.md"
_COMMAND = re.compile(r"^    (ray job submit .*)$", re.MULTILINE)
_PACKAGE = re.compile(r"gcs://(_ray_pkg_\w+\.zip)")


def guide_words() -> list[str]:
    """The guide's command, word by word."""
    text = GUIDE.read_text().replace("\\\n", " ")
    commands = [shlex.split(found) for found in _COMMAND.findall(text)]
    (words,) = [words for words in commands if "--working-dir" in words]
    return words


def submitted(
    words: list[str], head: Head, values: Mapping[str, object], *more: object, patience: float
) -> str:
    """Does the guide's command to its end, within `patience` seconds, on a cluster of ours and with
    values of ours for some of its flags, and more flags behind them; returns what it said.

    The program is the one of this environment, and Ray's address the cluster's.
    """
    words = [str(Path(sys.executable).parent / words[0]), *words[1:]]
    for flag, value in {"--address": head.dashboard_url, **values}.items():
        words[words.index(flag) + 1] = str(value)
    done = subprocess.run(
        [*words, *map(str, more)],
        env=driver_environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def package_of(said: str) -> str:
    """The name of the package that a submission sent, or found there."""
    names = set(_PACKAGE.findall(said))
    assert len(names) == 1, said
    return names.pop()


def packed(directory: Path, target: Path) -> str:
    """Has Ray's own functions pack a directory into a zip, as a submission does; returns the name
    that the package would have. In a process of its own: Ray's imports are heavy."""
    code = (
        "import json, pathlib, sys; from ray._private.runtime_env import packaging as p\n"
        "source, target = sys.argv[1:]\n"
        "p.create_package(source, pathlib.Path(target), include_gitignore=True)\n"
        "print(json.dumps(p.get_uri_for_directory(source, include_gitignore=True)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, directory, target],
        env=driver_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]).removeprefix("gcs://")
