"""The way of the command line: submitter's shell, `ray job submit`, head's shell, our parser."""

import json
import os
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import tyro

from pipeline.settings import RunSettings
from tests.k8s.conftest import K8S

Object = dict[str, Any]
FLAGS = {"--" + field.name.replace("_", "-") for field in fields(RunSettings)}

# `ray job submit -- ARGUMENTS` sends this to the head (ray/dashboard/modules/job/cli.py).
JOIN = "import shlex, sys; print(shlex.join(sys.argv[2:]))"


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


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (1, 1), (2, 2), (3, 0), (143, 143)])
def test_the_entrypoint_reaches_the_driver(
    objects: dict[str, Object], tmp_path: Path, code: int, expected: int
) -> None:
    data = objects["ConfigMap"]["data"] | {"DREAMBATCH_OUTPUT": "gs://bucket/two words $HOME"}
    command = _submitted(objects["RayJob"]["spec"]["entrypoint"])
    returned, arguments = _run_on_head(command, data, tmp_path, code)
    assert returned == expected
    assert arguments[:3] == ["-m", "pipeline", "run"]
    settings = tyro.cli(RunSettings, args=arguments[3:])
    settings.check()
    assert settings == RunSettings(
        manifest="gs://BUCKET/prompts.parquet",
        output="gs://bucket/two words $HOME",
        recipe="primitives",
        guidance="primitives",
        gpus=8,
    )


def test_each_setting_is_a_flag_and_is_passed(objects: dict[str, Object]) -> None:
    words = objects["RayJob"]["spec"]["entrypoint"].split()
    data = objects["ConfigMap"]["data"]
    assert len(data) == 5
    for name, value in data.items():
        flag = "--" + name.removeprefix("DREAMBATCH_").lower().replace("_", "-")
        assert flag in FLAGS
        assert words[words.index(flag) + 1] == f'"${name}"'
        assert isinstance(value, str)


def test_flags_in_the_instructions_exist() -> None:
    text = (K8S / "README.md").read_text().replace("\\\n", " ")
    commands = [line for line in text.splitlines() if "python -m pipeline run" in line]
    assert commands
    for command in commands:
        words = command.split("python -m pipeline run")[1].split()
        flags = {word for word in words if word.startswith("--")}
        assert {"--manifest", "--output", "--gpus"} <= flags <= FLAGS
