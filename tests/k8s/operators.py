"""What KubeRay 1.7 and Kueue refuse beside their schemas, in words of ours.

KubeRay: validation.go (names, groups, authentication, autoscaler, deletion). Kueue: the webhooks of
RayJob and RayCluster, for objects with a queue.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from tests.k8s.conftest import Object, Objects, by_kind

MAX_CLUSTER_NAME = 53
MAX_JOB_NAME = 47
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
MAX_QUEUED_GROUPS = 7
_LABEL_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_RAY_START_RESOURCES = {"num-cpus", "num-gpus", "memory", "resources"}
_AUTOSCALER_VARIABLE = "RAY_enable_autoscaler_v2"


def refusals(objects: Objects) -> list[str]:
    """Why an operator would not act on one of the objects."""
    found: list[str] = []
    for job in by_kind(objects, "RayJob"):
        found += _name(job, MAX_JOB_NAME)
        found += _job(job["spec"])
        found += _queued(job, job["spec"]["rayClusterSpec"])
        found += _cluster(job["spec"]["rayClusterSpec"])
        if "upgradeStrategy" in job["spec"]["rayClusterSpec"]:
            found.append("a job's cluster cannot be upgraded")
    for cluster in by_kind(objects, "RayCluster"):
        found += _name(cluster, MAX_CLUSTER_NAME)
        found += _queued(cluster, cluster["spec"])
        found += _cluster(cluster["spec"])
    return found


def _name(found: Object, longest: int) -> Iterator[str]:
    name = found["metadata"]["name"]
    if not _LABEL_NAME.fullmatch(name) or len(name) > longest:
        yield f"name {name!r}: a DNS label of at most {longest} characters is expected"


def _job(spec: Object) -> Iterator[str]:
    for field in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if spec.get(field, 1) <= 0:
            yield f"{field} has to be positive"
    if spec.get("backoffLimit", 0) < 0:
        yield "backoffLimit cannot be negative"
    if spec.get("backoffLimit", 0) > 0 and (
        "clusterSelector" in spec or spec.get("submissionMode") == "InteractiveMode"
    ):
        yield "backoffLimit needs a cluster of the job's own and no interaction"
    if spec.get("submissionMode") == "SidecarMode" and spec.keys() & {
        "submitterPodTemplate",
        "submitterConfig",
    }:
        yield "SidecarMode has no submitter pod"
    if spec.get("suspend") and not spec.get("shutdownAfterJobFinishes"):
        yield "suspend needs shutdownAfterJobFinishes"
    if spec["rayClusterSpec"].get("authOptions", {}).get("enableK8sTokenAuth"):
        yield "a RayJob cannot authenticate by Kubernetes' tokens"
    yield from _deletion(spec)


def _deletion(spec: Object) -> Iterator[str]:
    shuts_down = spec.get("shutdownAfterJobFinishes", False)
    if spec.get("ttlSecondsAfterFinished", 0) > 0 and not shuts_down:
        yield "ttlSecondsAfterFinished needs shutdownAfterJobFinishes"
    if "deletionStrategy" not in spec:
        return
    rules = spec["deletionStrategy"].get("deletionRules", [])
    if not rules:
        yield "a deletionStrategy without rules"
    if shuts_down:
        yield "deletionRules and shutdownAfterJobFinishes exclude each other"
    is_autoscaled = spec["rayClusterSpec"].get("enableInTreeAutoscaling", False)
    by_condition: dict[tuple[str, str], list[Object]] = {}
    for rule in rules:
        states = [(k, v) for k, v in rule["condition"].items() if k != "ttlSeconds"]
        if len(states) != 1:
            yield "a rule has one of jobStatus and jobDeploymentStatus"
            continue
        if rule["policy"] == "DeleteWorkers" and is_autoscaled:
            yield "DeleteWorkers is not supported with the autoscaler"
        by_condition.setdefault(states[0], []).append(rule)
    for condition, matching in by_condition.items():
        yield from _order(condition, matching)


def _order(condition: tuple[str, str], rules: Sequence[Object]) -> Iterator[str]:
    order = ["DeleteWorkers", "DeleteCluster", "DeleteSelf"]
    policies = [rule["policy"] for rule in rules]
    if len(set(policies)) < len(policies):
        yield f"two rules of one policy for {condition}"
    known = sorted(
        (r for r in rules if r["policy"] in order), key=lambda r: order.index(r["policy"])
    )
    times = [rule["condition"].get("ttlSeconds", 0) for rule in known]
    if any(time < 0 for time in times) or any(
        later < earlier for earlier, later in pairwise(times)
    ):
        yield f"ttlSeconds for {condition} have to grow from workers to cluster to job"


def _cluster(spec: Object) -> Iterator[str]:
    head, workers = spec["headGroupSpec"], spec["workerGroupSpecs"]
    for group in (head, *workers):
        yield from _group(group)
    for group in workers:
        yield from _size(group, is_autoscaled=spec.get("enableInTreeAutoscaling", False))
    yield from _autoscaler(spec)
    if spec.get("authOptions", {}).get("mode") == "token" and _version(spec) < (2, 52, 0):
        yield "tokens need a rayVersion of 2.52.0 or later"
    for field in ("networkPolicy", "tlsOptions", "historyServerOptions"):
        if field in spec:
            yield f"{field} needs a feature gate that is off by default"


def _version(spec: Object) -> tuple[int, ...]:
    return tuple(int(part) for part in spec.get("rayVersion", "0").split("."))


def _group(group: Object) -> Iterator[str]:
    name = group.get("groupName", "head")
    parameters = group.get("rayStartParams", {})
    if not group["template"]["spec"].get("containers"):
        yield f"{name}: no container"
    if "labels" in parameters:
        yield f"{name}: labels belong to the group, not to rayStartParams"
    if group.get("resources") and parameters.keys() & _RAY_START_RESOURCES:
        yield f"{name}: resources are said twice"


def _size(group: Object, *, is_autoscaled: bool) -> Iterator[str]:
    name = group["groupName"]
    least, most = group.get("minReplicas"), group.get("maxReplicas")
    if not is_autoscaled and (least is None or most is None):
        yield f"{name}: without the autoscaler minReplicas and maxReplicas are needed"
    if least is not None and most is not None and not 0 <= least <= most:
        yield f"{name}: minReplicas {least}, maxReplicas {most}"


def _autoscaler(spec: Object) -> Iterator[str]:
    is_on = spec.get("enableInTreeAutoscaling", False)
    options = spec.get("autoscalerOptions", {})
    is_second = is_on and options.get("version") == "v2"
    if options.get("idleTimeoutSeconds", 0) < 0:
        yield "idleTimeoutSeconds cannot be negative"
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        name = group.get("groupName", "head")
        pod = group["template"]["spec"]
        if is_second and pod.get("restartPolicy", "Never") != "Never":
            yield f"{name}: restartPolicy has to be Never or unset with autoscaler v2"
        if is_on and group.get("suspend"):
            yield f"{name}: an autoscaled group cannot be suspended"
        if group.get("priority", 0) and not (is_second and _version(spec) >= (2, 56, 0)):
            yield f"{name}: only autoscaler v2 of Ray 2.56.0 or later knows a priority"
        if "idleTimeoutSeconds" in group and not is_second:
            yield f"{name}: only autoscaler v2 knows a group's idleTimeoutSeconds"
        for container in pod.get("containers", []):
            if any(
                variable["name"] == _AUTOSCALER_VARIABLE for variable in container.get("env", [])
            ):
                yield f"{name}: the autoscaler's version is not said by a variable"


def _queued(found: Object, cluster: Object) -> Iterator[str]:
    if QUEUE_LABEL not in found["metadata"].get("labels", {}):
        return
    if found["kind"] == "RayJob" and not found["spec"].get("shutdownAfterJobFinishes"):
        yield "Kueue wants its quota back: shutdownAfterJobFinishes"
    if found["kind"] == "RayJob" and "clusterSelector" in found["spec"]:
        yield "Kueue wants a cluster of the job's own"
    if cluster.get("enableInTreeAutoscaling"):
        yield "Kueue wants a fixed size: no autoscaler"
    if len(cluster["workerGroupSpecs"]) > MAX_QUEUED_GROUPS:
        yield f"Kueue takes at most {MAX_QUEUED_GROUPS} groups"
    if any(group["groupName"] == "head" for group in cluster["workerGroupSpecs"]):
        yield "Kueue keeps the group name head for the head"
