"""What `kubectl kustomize` makes of the base: the same objects, with the image's full name."""

import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.k8s.conftest import K8S, REPOSITORY


def _images(value: Any) -> list[str]:
    if isinstance(value, list):
        return [image for part in value for image in _images(part)]
    if not isinstance(value, dict):
        return []
    own = [value["image"]] if "image" in value else []
    return own + [image for part in value.values() for image in _images(part)]


def test_the_build_changes_only_images(objects: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    built = subprocess.run(
        [kubectl, "kustomize", K8S / "base"],
        check=True,
        capture_output=True,
        text=True,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    ).stdout
    rendered = {item["kind"]: item for item in yaml.safe_load_all(built)}
    assert _images(rendered["RayJob"]) == [f"dreambatch:{_version()}"] * 3
    plain = yaml.safe_load_all(
        built.replace(f"image: dreambatch:{_version()}", "image: dreambatch")
    )
    assert {item["kind"]: item for item in plain} == objects


def test_the_tag_is_the_projects_version() -> None:
    kustomization = yaml.safe_load((K8S / "base" / "kustomization.yaml").read_text())
    (image,) = kustomization["images"]
    assert image["newTag"] == _version()


def _version() -> str:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    return project["project"]["version"]
