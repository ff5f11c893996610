"""The image, as far as it can be read without building it."""

import re
import tomllib
from itertools import chain

import pytest

from tests.k8s.conftest import K8S, REPOSITORY, applied, by_kind, templates

DOCKERFILE = (K8S / "Dockerfile").read_text()
BUILD, IMAGE = DOCKERFILE.split("\nFROM ")[1:]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def _instructions(name: str, stage: str) -> list[str]:
    joined = stage.replace("\\\n", " ")
    return re.findall(rf"^{name} +(.+)$", joined, flags=re.MULTILINE)


def test_what_it_copies_exists_and_is_sent() -> None:
    ignore = (K8S / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignore[0] == "*"
    sources = [source for copy in _instructions("COPY", BUILD) for source in copy.split()[:-1]]
    assert {"engine", "pipeline", "k8s", "dashboards", "requirements.txt"} <= set(sources)
    for source in sources:
        assert (REPOSITORY / source).exists()
    assert {line[1:] for line in ignore if line.startswith("!")} == set(sources)


def test_what_the_package_is_made_of_is_copied() -> None:
    sources = {source for copy in _instructions("COPY", BUILD) for source in copy.split()[:-1]}
    directories = PROJECT["tool"]["setuptools"]["package-dir"]
    needed = {
        directories.get(package, package).split(".")[0]
        for package in PROJECT["tool"]["setuptools"]["packages"]
    }
    assert needed <= sources
    assert {PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]} <= sources


def test_it_installs_pinned_versions_of_what_is_needed() -> None:
    installs = [run for run in _instructions("RUN", BUILD) if "pip install" in run]
    assert len(installs) == 2
    constraints = "--constraint requirements.txt --constraint requirements-dev.txt"
    assert f"{constraints} --requirement needed.txt" in installs[0]
    assert re.search(r"setuptools==\d", installs[0])
    assert "--no-deps --no-build-isolation ." in installs[1]
    assert "s3" in PROJECT["project"]["optional-dependencies"]


def _pinned(name: str) -> set[str]:
    lines = (REPOSITORY / name).read_text().splitlines()
    return {_plain(line.partition("==")[0]) for line in lines}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _named(needs: list[str]) -> set[str]:
    return {_plain(re.split(r"[\[>=<]", need)[0]) for need in needs}


def test_every_need_is_pinned_once_and_what_the_demo_can_do_without_apart() -> None:
    to_run, to_test = _pinned("requirements.txt"), _pinned("requirements-dev.txt")
    project = PROJECT["project"]
    assert _named(project["dependencies"]) <= to_run
    extras = _named([*chain.from_iterable(project["optional-dependencies"].values())])
    assert extras <= to_run | to_test
    assert {"pytest", "triton", "s3fs"} <= to_test
    assert to_run & to_test == set()


def test_the_last_user_is_the_manifests_and_not_root() -> None:
    (user,) = _instructions("USER", IMAGE)
    assert user == "1000:1000"
    assert IMAGE.rindex("USER ") > IMAGE.rindex("RUN ")
    for template in templates(applied("base")).values():
        context = template["spec"]["securityContext"]
        assert f"{context['runAsUser']}:{context['runAsGroup']}" == user


def test_what_it_writes_to_is_mounted() -> None:
    """The rest of the image cannot be written to."""
    written = re.findall(r"^ +(?:ENV )?\w+_?(?:CACHE\w*|HOME)=(/\S+)", IMAGE, flags=re.MULTILINE)
    assert len(written) == 4
    for name, template in templates(applied("base")).items():
        (container,) = template["spec"]["containers"]
        mounted = [mount["mountPath"] for mount in container["volumeMounts"]]
        for path in written:
            is_held = any(path == place or path.startswith(place + "/") for place in mounted)
            assert is_held or name == "submitter"


@pytest.mark.parametrize("stage", [BUILD, IMAGE])
def test_both_stages_have_one_python_that_is_new_enough(stage: str) -> None:
    assert stage.startswith("${PYTHON}")
    found = re.search(r"^ARG PYTHON=python:3\.(\d+)\.\d+-slim-bookworm$", DOCKERFILE, re.MULTILINE)
    needed = re.fullmatch(r">=3\.(\d+)", PROJECT["project"]["requires-python"])
    assert found is not None
    assert needed is not None
    assert int(found[1]) >= int(needed[1])
    (settings,) = by_kind(applied("overlays/local"), "ConfigMap")
    assert f"/opt/venv/lib/python3.{found[1]}/" in settings["data"]["DREAMBATCH_MANIFEST"]
