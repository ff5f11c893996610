"""The manifests as they are applied."""

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pipeline.kubernetes import kustomize, render
from pipeline.kubernetes.values import Values

REPOSITORY = Path(__file__).resolve().parents[2]
K8S = REPOSITORY / "k8s"
OVERLAYS = sorted(path.name for path in (K8S / "overlays").iterdir())

Object = dict[str, Any]
Objects = list[Object]

RENDERED = {
    "rendered gke-spot": Values(
        action="render",
        image="registry.example/dreambatch@sha256:" + "0" * 64,
        manifest="gs://bucket/prompts.parquet",
        output="gs://bucket/assets",
        gpus=64,
        recipe="dreamfusion_if",
        gpus_per_machine=8,
        on_demand_gpus=16,
        accelerator="nvidia-h100-80gb",
        name="weekend",
        namespace="research",
        google_service_account="maker@project.iam.gserviceaccount.com",
    ),
    "rendered kueue": Values(
        action="render",
        overlay="kueue",
        image="registry.example/dreambatch:2",
        manifest="s3://bucket/prompts.csv",
        output="s3://bucket/assets",
        gpus=10,
        gpus_per_machine=4,
        queue="research",
        flags="--limit 100 --strict",
        monitoring=False,
    ),
    "rendered cluster": Values(
        action="render",
        overlay="cluster",
        image="registry.example/dreambatch:2",
        gpus=8,
        name="a-name-of-as-many-as-forty-characters-xy",
    ),
}
"""What a user may ask for, beside the files as they are."""

SETS = ["base", *(f"overlays/{name}" for name in OVERLAYS), *RENDERED]


def applied(name: str) -> Objects:
    """The objects of one set, as `kubectl apply` gets them; the caller's own."""
    return copy.deepcopy(_built(name))


def by_kind(objects: Objects, kind: str) -> Objects:
    """The objects of a kind, in order."""
    return [found for found in objects if found["kind"] == kind]


def job(objects: Objects) -> Object:
    """The RayJob's specification; there is one."""
    (found,) = by_kind(objects, "RayJob")
    return found["spec"]


def cluster(objects: Objects) -> Object:
    """The specification of the job's cluster, or of the cluster that stays."""
    clusters = [found["spec"] for found in by_kind(objects, "RayCluster")]
    clusters += [found["spec"]["rayClusterSpec"] for found in by_kind(objects, "RayJob")]
    (found,) = clusters
    return found


def groups(objects: Objects) -> list[Object]:
    """The cluster's groups of pods, the head's first."""
    found = cluster(objects)
    return [found["headGroupSpec"], *found["workerGroupSpecs"]]


def templates(objects: Objects) -> dict[str, Object]:
    """All pod templates: by `head`, by their group, and the submitter's."""
    head, *workers = groups(objects)
    found = {"head": head["template"]}
    found |= {group["groupName"]: group["template"] for group in workers}
    if by_kind(objects, "RayJob"):
        found["submitter"] = job(objects)["submitterPodTemplate"]
    return found


def containers(objects: Objects) -> list[Object]:
    """All that run, the autoscaler beside the head included."""
    found = [
        container
        for template in templates(objects).values()
        for container in template["spec"]["containers"]
    ]
    options = cluster(objects).get("autoscalerOptions")
    return found if options is None else [*found, options]


@cache
def _built(name: str) -> Objects:
    if name in RENDERED:
        return render.objects(RENDERED[name])
    return kustomize.build(K8S / name)


@pytest.fixture(params=SETS)
def objects(request: pytest.FixtureRequest) -> Objects:
    """Each set in turn."""
    return applied(request.param)


Check = Callable[[Objects], list[str]]
"""Says in words what is wrong with a set."""
