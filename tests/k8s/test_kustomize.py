"""Our reading of the kustomizations against the real program's, and what both read."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.kubernetes import kustomize
from tests.k8s.conftest import K8S, OVERLAYS, REPOSITORY, Objects, by_kind

FILES = ["base", "monitoring", *(f"overlays/{name}" for name in OVERLAYS)]
APPLY_BYTES = 262_144
"""What `kubectl apply` can write into the annotation in which it remembers an object."""


def _real(directory: Path, home: Path) -> Objects:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")

    def call(*words: str | Path) -> str:
        environment = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
        return subprocess.run(
            [kubectl, *words], check=True, capture_output=True, text=True, env=environment
        ).stdout

    version = json.loads(call("version", "--client", "--output=json"))
    if not version.get("kustomizeVersion", "").startswith("v5."):
        pytest.skip("kubectl is older than 1.27, whose kustomize reads other files")
    return list(yaml.safe_load_all(call("kustomize", directory)))


def _by_name(objects: Objects) -> dict[tuple[str, str], Any]:
    named = {(found["kind"], found["metadata"]["name"]): found for found in objects}
    assert len(named) == len(objects)
    return named


@pytest.mark.parametrize("name", FILES)
def test_it_reads_what_kustomize_reads(name: str, tmp_path: Path) -> None:
    real = _real(K8S / name, tmp_path)
    assert _by_name(kustomize.build(K8S / name)) == _by_name(real)


def test_every_file_is_used() -> None:
    used = set()
    for path in [*K8S.rglob(kustomize.FILE), REPOSITORY / "dashboards" / kustomize.FILE]:
        (kustomization,) = kustomize.load(path)
        parts = kustomization.get("resources", [])
        parts += [patch["path"] for patch in kustomization.get("patches", [])]
        for generator in kustomization.get("configMapGenerator", []):
            parts += generator["files"]
        used |= {path, *((path.parent / part).resolve() for part in parts)}
    here = {*K8S.rglob("*.yaml"), *(REPOSITORY / "dashboards").glob("*.json")}
    assert here <= used


def test_dashboards_are_the_files_and_can_be_applied() -> None:
    found = by_kind(kustomize.build(K8S / "monitoring"), "ConfigMap")
    contents = {name: text for one in found for name, text in one["data"].items()}
    files = sorted((REPOSITORY / "dashboards").glob("*.json"))
    assert sorted(contents) == [path.name for path in files]
    for path in files:
        assert contents[path.name] == path.read_text(encoding="utf-8")
    for one in found:
        assert one["metadata"]["labels"] == {"grafana_dashboard": "1"}
        assert len(json.dumps(one)) < APPLY_BYTES


def test_a_shared_template_is_two_after_loading() -> None:
    objects = kustomize.build(K8S / "overlays" / "gke-spot")
    (job,) = by_kind(objects, "RayJob")
    spot, on_demand = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert "cloud.google.com/gke-spot" in spot["template"]["spec"]["nodeSelector"]
    assert "cloud.google.com/gke-spot" not in on_demand["template"]["spec"]["nodeSelector"]


def test_what_is_not_understood_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / kustomize.FILE).write_text("resources: []\nnamePrefix: my-\n")
    with pytest.raises(AssertionError, match="namePrefix"):
        kustomize.build(tmp_path)


def test_images_are_told_by_their_whole_name() -> None:
    pods = [{"image": "dreambatch:1"}, {"image": "other/dreambatch:1"}, {"image": "dreambatch-x"}]
    kustomize.set_image(pods, "dreambatch", "r/d@sha256:0")
    assert [pod["image"] for pod in pods] == ["r/d@sha256:0", "other/dreambatch:1", "dreambatch-x"]
