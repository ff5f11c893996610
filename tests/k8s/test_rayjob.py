"""The RayJob: KubeRay's schema, the rules of its operator that no schema holds, and our own."""

import copy
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pipeline.settings import RunSettings
from tests.k8s.conftest import REPOSITORY

Object = dict[str, Any]


@pytest.fixture
def spec(objects: dict[str, Object]) -> Object:
    return objects["RayJob"]["spec"]


@pytest.fixture
def cluster(spec: Object) -> Object:
    return spec["rayClusterSpec"]


def _pods(spec: Object) -> dict[str, Object]:
    cluster = spec["rayClusterSpec"]
    workers = {group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]}
    templates = {
        "submitter": spec["submitterPodTemplate"],
        "head": cluster["headGroupSpec"]["template"],
        **workers,
    }
    return {name: template["spec"] for name, template in templates.items()}


def _containers(spec: Object) -> Iterator[Object]:
    """All that run, the autoscaler beside the head included."""
    for pod in _pods(spec).values():
        yield from pod["containers"]
    yield spec["rayClusterSpec"]["autoscalerOptions"]


def test_it_keeps_the_schema(
    objects: dict[str, Object], rayjob_validator: Draft202012Validator
) -> None:
    errors = [error.message for error in rayjob_validator.iter_errors(objects["RayJob"])]
    assert errors == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "backoffLimits"), 3),
        (("spec", "submissionMode"), 1),
        (("spec", "rayClusterSpec", "autoscalerOptions", "version"), "v3"),
        (("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "efect"), "NoSchedule"),
    ],
)
def test_the_schema_notices_mistakes(
    objects: dict[str, Object],
    rayjob_validator: Draft202012Validator,
    path: tuple[str, ...],
    value: object,
) -> None:
    mistaken = copy.deepcopy(objects["RayJob"])
    parent = mistaken
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    assert len(list(rayjob_validator.iter_errors(mistaken))) == 1


def test_every_reference_resolves(objects: dict[str, Object], spec: Object) -> None:
    accounts = [pod["serviceAccountName"] for pod in _pods(spec).values()]
    assert accounts == [objects["ServiceAccount"]["metadata"]["name"]] * 3
    sources = [source for container in _containers(spec) for source in container.get("envFrom", [])]
    assert sources == [{"configMapRef": {"name": objects["ConfigMap"]["metadata"]["name"]}}]
    for pod in _pods(spec).values():
        assert "volumes" not in pod
        assert not any("env" in container for container in pod["containers"])


def test_the_operator_accepts_it(objects: dict[str, Object], spec: Object, cluster: Object) -> None:
    """KubeRay 1.7, validation.go: what it checks beside the schema."""
    name = objects["RayJob"]["metadata"]["name"]
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert len(name) <= 47
    assert spec["submissionMode"] == "K8sJobMode"
    assert spec["backoffLimit"] > 0
    assert not {"clusterSelector", "suspend", "jobId"} & spec.keys()
    assert not {"upgradeStrategy", "networkPolicy", "tlsOptions"} & cluster.keys()
    assert cluster["autoscalerOptions"]["version"] == "v2"
    assert cluster["enableInTreeAutoscaling"] is True
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert group["template"]["spec"].get("restartPolicy", "Never") == "Never"
        assert "labels" not in group["rayStartParams"]
        assert "resources" not in group


def test_the_deletion_rules_are_accepted(spec: Object) -> None:
    assert not {"shutdownAfterJobFinishes", "ttlSecondsAfterFinished"} & spec.keys()
    rules = spec["deletionStrategy"]["deletionRules"]
    # The operator refuses DeleteWorkers beside the autoscaler.
    order = ["DeleteCluster", "DeleteSelf"]
    for condition in ({"jobStatus": "SUCCEEDED"}, {"jobDeploymentStatus": "Failed"}):
        matching = [rule for rule in rules if condition.items() <= rule["condition"].items()]
        assert [rule["policy"] for rule in matching] == order
        times = [rule["condition"]["ttlSeconds"] for rule in matching]
        assert all(earlier < later for earlier, later in pairwise(times))
        rules = [rule for rule in rules if rule not in matching]
    assert rules == []


def test_calls_need_the_token(cluster: Object) -> None:
    assert cluster["authOptions"] == {"mode": "token"}
    assert tuple(map(int, cluster["rayVersion"].split("."))) >= (2, 52, 0)


def test_ray_is_the_pinned_one(cluster: Object) -> None:
    pins = (REPOSITORY / "requirements.txt").read_text().splitlines()
    assert f"ray=={cluster['rayVersion']}" in pins


def test_the_head_carries_no_work_and_stays(cluster: Object) -> None:
    head = cluster["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    annotations = head["template"]["metadata"]["annotations"]
    assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    affinity = head["template"]["spec"]["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [
        {"key": "cloud.google.com/gke-spot", "operator": "DoesNotExist"}
    ]


def test_the_metrics_port_is_the_drivers(cluster: Object) -> None:
    (container,) = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports["dreambatch"] == RunSettings(manifest="m", output="o").metrics_port
    assert len(set(ports.values())) == len(ports)


def test_spot_gpus_come_from_zero(objects: dict[str, Object], cluster: Object) -> None:
    (group,) = cluster["workerGroupSpecs"]
    assert group["replicas"] == group["minReplicas"] == 0
    pod = group["template"]["spec"]
    assert pod["nodeSelector"] == {"cloud.google.com/gke-spot": "true"}
    tolerated = {toleration["key"]: toleration["effect"] for toleration in pod["tolerations"]}
    assert tolerated == {"nvidia.com/gpu": "NoSchedule", "cloud.google.com/gke-spot": "NoSchedule"}
    (container,) = pod["containers"]
    num_gpus = int(container["resources"]["limits"]["nvidia.com/gpu"])
    assert num_gpus * group["maxReplicas"] >= int(objects["ConfigMap"]["data"]["DREAMBATCH_GPUS"])


def test_requests_equal_limits(spec: Object) -> None:
    containers = list(_containers(spec))
    assert len(containers) == 4
    for container in containers:
        resources = container["resources"]
        assert resources["requests"] == resources["limits"]
        assert {"cpu", "memory"} <= resources["limits"].keys()


def test_nothing_runs_as_root(spec: Object) -> None:
    for pod in _pods(spec).values():
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == 1000
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in _containers(spec):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }


def test_only_the_head_may_ask_kubernetes(spec: Object) -> None:
    """The operator binds the autoscaler's role to the account that the workers share."""
    mounts = {name: pod.get("automountServiceAccountToken") for name, pod in _pods(spec).items()}
    assert mounts == {"submitter": False, "head": None, "spot-gpu": False}
