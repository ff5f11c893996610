"""The image, as far as it can be read without building it."""

import re

from tests.k8s.conftest import K8S, REPOSITORY

DOCKERFILE = (K8S / "Dockerfile").read_text()


def _instructions(name: str) -> list[str]:
    joined = DOCKERFILE.replace("\\\n", " ")
    return re.findall(rf"^{name} +(.+)$", joined, flags=re.MULTILINE)


def test_what_it_copies_exists_and_is_sent() -> None:
    ignore = (K8S / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignore[0] == "*"
    sources = [source for copy in _instructions("COPY") for source in copy.split()[:-1]]
    assert {"engine", "pipeline", "requirements.txt"} <= set(sources)
    for source in sources:
        assert (REPOSITORY / source).exists()
    assert {line[1:] for line in ignore if line.startswith("!")} == set(sources)


def test_it_installs_the_pins_and_nothing_else() -> None:
    installs = [run for run in _instructions("RUN") if "pip install" in run]
    assert len(installs) == 2
    assert "--requirement requirements.txt" in installs[0]
    assert "--no-deps" in installs[1]


def test_the_last_user_is_not_root() -> None:
    (user,) = _instructions("USER")
    assert user == "1000:1000"
    assert DOCKERFILE.rindex("USER ") > DOCKERFILE.rindex("RUN ")


def test_python_is_new_enough() -> None:
    (base,) = _instructions("FROM")
    found = re.fullmatch(r"python:3\.(\d+)-slim-\w+", base)
    assert found is not None
    project = (REPOSITORY / "pyproject.toml").read_text()
    needed = re.search(r'requires-python = ">=3\.(\d+)"', project)
    assert needed is not None
    assert int(found[1]) >= int(needed[1])
