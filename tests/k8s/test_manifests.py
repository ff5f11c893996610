"""Each set of manifests, as it is applied, and mistakes of which each has to be noticed."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.k8s import house, operators, references, schemas
from tests.k8s.conftest import Check, Objects, applied, by_kind, cluster, groups, job

needs_crds = pytest.mark.skipif(
    not schemas.DIRECTORY.is_dir(), reason="the operators' CRDs are not at ../shared/k8s-schemas"
)


@needs_crds
def test_no_schema_refuses_it(objects: Objects) -> None:
    assert schemas.wrong_fields(objects) == []


def test_no_core_schema_refuses_it(objects: Objects) -> None:
    core = [found for found in objects if found["kind"] not in schemas.CRDS]
    assert len(core) >= 4
    assert schemas.wrong_fields(core) == []


def test_everything_that_is_named_is_there(objects: Objects) -> None:
    assert references.broken_references(objects) == []


def test_no_operator_refuses_it(objects: Objects) -> None:
    assert operators.refusals(objects) == []


def test_the_rules_of_the_house_are_kept(objects: Objects) -> None:
    assert house.broken_rules(objects) == []


def put(*path: str | int, value: Any) -> Callable[[Objects], None]:
    """A mistake: `value` at a path that begins with a kind."""

    def change(objects: Objects) -> None:
        kind, *steps = path
        parent: Any = by_kind(objects, str(kind))[0]
        for step in steps[:-1]:
            parent = parent[step]
        parent[steps[-1]] = value

    return change


def drop(kind: str, index: int = 0) -> Callable[[Objects], None]:
    """A mistake: an object is left out."""
    return lambda objects: objects.remove(by_kind(objects, kind)[index])


def grow(kind: str, field: str, by: str) -> Callable[[Objects], None]:
    """A mistake: a misspelt name."""

    def change(objects: Objects) -> None:
        by_kind(objects, kind)[0]["metadata"][field] += by

    return change


def each_container(key: str, value: Any) -> Callable[[Objects], None]:
    """A mistake in all of a cluster's containers."""

    def change(objects: Objects) -> None:
        for group in groups(objects):
            for container in group["template"]["spec"]["containers"]:
                container[key] = value

    return change


def in_worker(*path: str | int, value: Any) -> Callable[[Objects], None]:
    """A mistake in the first group of workers."""

    def change(objects: Objects) -> None:
        parent: Any = groups(objects)[1]
        for step in path[:-1]:
            parent = parent[step]
        parent[path[-1]] = value

    return change


def add_rule(**condition: Any) -> Callable[[Objects], None]:
    """A mistake among the deletion rules."""

    def change(objects: Objects) -> None:
        policy = condition.pop("policy")
        rule = {"policy": policy, "condition": condition}
        job(objects)["deletionStrategy"]["deletionRules"].append(rule)

    return change


def _forget_budget_label(objects: Objects) -> None:
    groups(objects)[0]["template"]["metadata"]["labels"] = {"app": "dreambatch"}


def _mount_nothing(objects: Objects) -> None:
    groups(objects)[0]["template"]["spec"]["volumes"] = []


def _upgrade(objects: Objects) -> None:
    cluster(objects)["upgradeStrategy"] = {"type": "Recreate"}


def _lead_astray(kind: str, field: str) -> Callable[[Objects], None]:
    """A mistake: labels that no pod has."""
    return put(kind, "spec", field, "matchLabels", "app.kubernetes.io/part-of", value="dream")


GKE, KUEUE, LOCAL = "overlays/gke-spot", "overlays/kueue", "overlays/local"
SPEC = ("RayJob", "spec")
CLUSTER = (*SPEC, "rayClusterSpec")
HEAD = (*CLUSTER, "headGroupSpec")
SCHEMA, REFERENCE, OPERATOR, HOUSE = (
    schemas.wrong_fields,
    references.broken_references,
    operators.refusals,
    house.broken_rules,
)
MISTAKES: list[tuple[str, Check, Callable[[Objects], None], str]] = [
    (GKE, SCHEMA, put(*SPEC, "backoffLimits", value=3), "backoffLimits"),
    (GKE, SCHEMA, put(*SPEC, "submissionMode", value=1), "submissionMode"),
    (GKE, SCHEMA, put(*CLUSTER, "autoscalerOptions", "version", value="v3"), "v3"),
    (GKE, SCHEMA, put(*HEAD, "template", "spec", "tolerations", value=[{"efect": "x"}]), "efect"),
    (GKE, SCHEMA, put(*HEAD, "template", "spec", "nodeSelectr", value={}), "nodeSelectr"),
    (GKE, SCHEMA, in_worker("maxReplicas", value="8"), "maxReplicas"),
    (GKE, SCHEMA, put("PodMonitor", "spec", "podMetricsEndpoint", value=[]), "podMetricsEndpoint"),
    (
        GKE,
        SCHEMA,
        put("PrometheusRule", "spec", "groups", 0, "rules", 0, "for", value="5 m"),
        "5 m",
    ),
    (GKE, SCHEMA, put("PrometheusRule", "metadata", "label", value={}), "metadata.label"),
    (GKE, SCHEMA, put("PodDisruptionBudget", "spec", "minAvailabel", value=1), "minAvailabel"),
    (GKE, SCHEMA, put("NetworkPolicy", "spec", "podSelectors", value={}), "podSelectors"),
    (GKE, SCHEMA, put("NetworkPolicy", "spec", "policyTypes", value="Ingress"), "policyTypes"),
    (GKE, SCHEMA, put("ServiceAccount", "automountServiceAccountTokn", value=True), "Tokn"),
    (LOCAL, SCHEMA, put("PersistentVolumeClaim", "spec", "accessMode", value=[]), "accessMode"),
    (GKE, REFERENCE, drop("ServiceAccount", 1), "no ServiceAccount dreambatch-worker"),
    (GKE, REFERENCE, grow("ConfigMap", "name", "-7d5f"), "no ConfigMap dreambatch-run"),
    (GKE, REFERENCE, each_container("envFrom", [{"secretRef": {"name": "hub"}}]), "no Secret hub"),
    (GKE, REFERENCE, _forget_budget_label, "PodDisruptionBudget dreambatch-head selects []"),
    (GKE, REFERENCE, _lead_astray("PodMonitor", "selector"), "PodMonitor dreambatch-head selects"),
    (GKE, REFERENCE, _lead_astray("NetworkPolicy", "podSelector"), "NetworkPolicy dreambatch sel"),
    (
        GKE,
        REFERENCE,
        put("PodMonitor", "spec", "podMetricsEndpoints", 0, "port", value="job-metric"),
        "head has no job-metric",
    ),
    (GKE, REFERENCE, _mount_nothing, "autoscaler: no volume scratch"),
    (GKE, REFERENCE, each_container("ports", []), "head has no job-metrics"),
    (GKE, REFERENCE, each_container("ports", []), "no port dashboard"),
    (
        GKE,
        REFERENCE,
        put("ConfigMap", "metadata", "namespace", value="other"),
        "several namespaces",
    ),
    (LOCAL, REFERENCE, drop("PersistentVolumeClaim"), "no PersistentVolumeClaim dreambatch-data"),
    (GKE, OPERATOR, grow("RayJob", "name", "x" * 40), "at most 47"),
    (GKE, OPERATOR, grow("RayJob", "name", "_2"), "DNS label"),
    (GKE, OPERATOR, put(*SPEC, "shutdownAfterJobFinishes", value=True), "exclude each other"),
    (GKE, OPERATOR, put(*SPEC, "ttlSecondsAfterFinished", value=60), "needs shutdown"),
    (GKE, OPERATOR, put(*SPEC, "suspend", value=True), "suspend needs"),
    (GKE, OPERATOR, put(*SPEC, "clusterSelector", value={"ray.io/cluster": "c"}), "backoffLimit"),
    (GKE, OPERATOR, put(*SPEC, "submissionMode", value="InteractiveMode"), "backoffLimit"),
    (GKE, OPERATOR, put(*SPEC, "submissionMode", value="SidecarMode"), "no submitter pod"),
    (GKE, OPERATOR, add_rule(policy="DeleteWorkers", jobStatus="FAILED"), "DeleteWorkers"),
    (GKE, OPERATOR, add_rule(policy="DeleteSelf", jobStatus="SUCCEEDED"), "two rules"),
    (GKE, OPERATOR, add_rule(policy="DeleteSelf", ttlSeconds=5), "one of jobStatus"),
    (GKE, OPERATOR, add_rule(policy="DeleteSelf", jobStatus="FAILED", ttlSeconds=-1), "grow"),
    (GKE, OPERATOR, _upgrade, "cannot be upgraded"),
    (GKE, OPERATOR, put(*CLUSTER, "rayVersion", value="2.51.0"), "2.52.0"),
    (GKE, OPERATOR, put(*CLUSTER, "rayVersion", value="2.55.0"), "priority"),
    (GKE, OPERATOR, put(*CLUSTER, "networkPolicy", value={}), "feature gate"),
    (GKE, OPERATOR, in_worker("rayStartParams", value={"labels": "a=b"}), "labels belong"),
    (GKE, OPERATOR, in_worker("minReplicas", value=9), "minReplicas 9"),
    (
        GKE,
        OPERATOR,
        in_worker("template", "spec", "restartPolicy", value="Always"),
        "restartPolicy",
    ),
    (GKE, OPERATOR, put(*HEAD, "resources", value={"CPU": "0"}), "said twice"),
    (KUEUE, OPERATOR, in_worker("priority", value=1), "priority"),
    (KUEUE, OPERATOR, put(*CLUSTER, "enableInTreeAutoscaling", value=True), "fixed size"),
    (KUEUE, OPERATOR, in_worker("groupName", value="head"), "keeps the group name"),
    (KUEUE, OPERATOR, put(*SPEC, "shutdownAfterJobFinishes", value=False), "quota back"),
    (GKE, HOUSE, put(*HEAD, "rayStartParams", value={}), "takes work"),
    (GKE, HOUSE, put(*HEAD, "template", "metadata", "annotations", value={}), "evicted"),
    (GKE, HOUSE, put(*HEAD, "template", "spec", "securityContext", value={}), "as root"),
    (GKE, HOUSE, each_container("securityContext", {}), "write to its image"),
    (GKE, HOUSE, each_container("volumeMounts", []), "nowhere to write"),
    (GKE, HOUSE, each_container("resources", {"limits": {"cpu": 1, "memory": 1}}), "not limits"),
    (GKE, HOUSE, each_container("lifecycle", {}), "without a word"),
    (GKE, HOUSE, put(*CLUSTER, "authOptions", value={}), "may use it"),
    (GKE, HOUSE, put("NetworkPolicy", "spec", "ingress", 0, value={}), "anybody"),
    (GKE, HOUSE, drop("NetworkPolicy"), "no NetworkPolicy"),
    (GKE, HOUSE, put("PodDisruptionBudget", "spec", value={"maxUnavailable": 0}), "minAvailable"),
    (GKE, HOUSE, in_worker("replicas", value=2), "from zero"),
    (GKE, HOUSE, in_worker("maxReplicas", value=4), "8 GPUs"),
    (GKE, HOUSE, in_worker("priority", value=-1), "spot machines come first"),
    (GKE, HOUSE, put("ConfigMap", "data", "DREAMBATCH_GPUS", value=8), "no text"),
    (KUEUE, HOUSE, in_worker("minReplicas", value=2), "fixed size"),
]


@pytest.mark.parametrize(("name", "check", "mistake", "word"), MISTAKES)
def test_a_mistake_is_noticed(
    name: str, check: Check, mistake: Callable[[Objects], None], word: str
) -> None:
    if check is SCHEMA and not schemas.DIRECTORY.is_dir():
        pytest.skip("the operators' CRDs are not at ../shared/k8s-schemas")
    objects = applied(name)
    assert check(objects) == []
    mistake(objects)
    assert any(word in message for message in check(objects)), check(objects)
