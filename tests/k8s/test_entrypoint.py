"""The way of the command line: submitter's shell, `ray job submit`, head's shell, our parser."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tyro

from pipeline.settings import RunSettings
from tests.k8s.conftest import Objects, applied, by_kind, job

# `ray job submit -- ARGUMENTS` sends this to the head (ray/dashboard/modules/job/cli.py).
JOIN = "import shlex, sys; print(shlex.join(sys.argv[2:]))"
WITH_JOB = [
    "base",
    "overlays/gke-spot",
    "overlays/kueue",
    "overlays/local",
    "rendered gke-spot",
    "rendered kueue",
]


def _submitted(entrypoint: str) -> str:
    """What the head is asked to run: KubeRay puts the entrypoint into a script for bash."""
    submit = shlex.join([sys.executable, "-c", JOIN])
    script = f"if ! false ; then {submit} -- {entrypoint} ; fi ; true"
    shell = ["bash", "-c", "-e", "--", script]
    environment = {name: value for name, value in os.environ.items() if "DREAMBATCH" not in name}
    return subprocess.run(
        shell, check=True, capture_output=True, text=True, env=environment
    ).stdout.strip()


def _run_on_head(
    command: str, data: dict[str, str], fake: Path, code: int
) -> tuple[int, list[str]]:
    """Exit code, and what `python` was called with."""
    seen = fake / "seen.json"
    python = fake / "python"
    python.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        f"json.dump(sys.argv[1:], open({str(seen)!r}, 'w'))\nsys.exit({code})\n"
    )
    python.chmod(0o755)
    environment = {"PATH": f"{fake}:/usr/bin:/bin", **data}
    done = subprocess.run(command, shell=True, env=environment, check=False)
    return done.returncode, json.loads(seen.read_text())


def _data(objects: Objects) -> dict[str, str]:
    found = by_kind(objects, "ConfigMap")
    (data,) = (one["data"] for one in found if "DREAMBATCH_FLAGS" in one["data"])
    return data


@pytest.mark.parametrize("code", [0, 1, 2, 143])
def test_the_entrypoint_reaches_the_driver(tmp_path: Path, code: int) -> None:
    objects = applied("overlays/gke-spot")
    data = _data(objects) | {"DREAMBATCH_OUTPUT": "gs://bucket/two words $HOME"}
    returned, arguments = _run_on_head(_submitted(job(objects)["entrypoint"]), data, tmp_path, code)
    assert returned == code
    assert arguments[:5] == ["-m", "pipeline", "supervise", "--", "run"]
    settings = tyro.cli(RunSettings, args=arguments[5:])
    settings.check()
    assert settings == RunSettings(
        manifest="gs://BUCKET/prompts.parquet",
        output="gs://bucket/two words $HOME",
        recipe="primitives",
        gpus=8,
    )


@pytest.mark.parametrize("name", WITH_JOB)
def test_what_a_set_says_is_a_run(name: str, tmp_path: Path) -> None:
    objects = applied(name)
    entrypoint = job(objects)["entrypoint"]
    _, arguments = _run_on_head(_submitted(entrypoint), _data(objects), tmp_path, 0)
    settings = tyro.cli(RunSettings, args=arguments[5:], config=(tyro.conf.FlagCreatePairsOff,))
    settings.check()
    assert settings.manifest == _data(objects)["DREAMBATCH_MANIFEST"]
    assert all(f"${name}" in entrypoint for name in _data(objects))
