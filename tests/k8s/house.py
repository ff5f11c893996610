"""What we ask of our own manifests beyond what a cluster would accept."""

from collections.abc import Iterator

from pipeline.settings import RunSettings
from tests.k8s.conftest import (
    Object,
    Objects,
    by_kind,
    cluster,
    containers,
    groups,
    job,
    templates,
)

SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"
GPU = "nvidia.com/gpu"


def broken_rules(objects: Objects) -> list[str]:
    """The rules of the house that a set breaks."""
    found = [*_security(objects), *_sizes(objects), *_head(objects), *_workers(objects)]
    found += [*_texts(objects), *_callers(objects)]
    if by_kind(objects, "RayJob"):
        found += _job(objects)
    return found


def _security(objects: Objects) -> Iterator[str]:
    for name, template in templates(objects).items():
        pod = template["spec"]
        context = pod.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or context.get("runAsUser") != 1000:
            yield f"{name} may run as root"
        if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{name} has no seccomp profile"
        needs_token = name == "head" and cluster(objects)["enableInTreeAutoscaling"]
        if pod.get("automountServiceAccountToken", True) != needs_token:
            yield f"{name}: the token of its account is for the autoscaler alone"
    for container in containers(objects):
        name = container.get("name", "autoscaler")
        if container.get("securityContext") != {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }:
            yield f"{name} may gain rights or write to its image"
        if "/tmp" not in [mount["mountPath"] for mount in container.get("volumeMounts", [])]:
            yield f"{name} has nowhere to write"
    if cluster(objects).get("authOptions") != {"mode": "token"}:
        yield "whoever reaches Ray may use it"


def _sizes(objects: Objects) -> Iterator[str]:
    for container in containers(objects):
        name = container.get("name", "autoscaler")
        resources = container.get("resources", {})
        if not {"cpu", "memory"} <= resources.get("limits", {}).keys():
            yield f"{name} has no limits"
        if resources.get("requests") != resources.get("limits"):
            yield f"{name}: requests are not limits"


def _head(objects: Objects) -> Iterator[str]:
    head = groups(objects)[0]
    if head["rayStartParams"].get("num-cpus") != "0":
        yield "the head takes work"
    if head["template"]["metadata"].get("annotations", {}).get(SAFE_TO_EVICT) != "false":
        yield "the head may be evicted"
    (container,) = head["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    if ports.get("job-metrics") != RunSettings(manifest="m", output="o").metrics_port:
        yield "the driver's metrics are on another port"
    if len(set(ports.values())) < len(ports):
        yield "two ports of one number"


def _workers(objects: Objects) -> Iterator[str]:
    is_autoscaled = cluster(objects)["enableInTreeAutoscaling"]
    workers = groups(objects)[1:]
    for group in workers:
        name = group["groupName"]
        starts = {group["replicas"], group["minReplicas"]}
        if is_autoscaled and starts != {0}:
            yield f"{name} does not start from zero"
        if not is_autoscaled and starts != {group["maxReplicas"]}:
            yield f"{name}: a fixed size is expected"
        (container,) = group["template"]["spec"]["containers"]
        if "ray drain-node" not in " ".join(_command(container)):
            yield f"{name} leaves without a word"
    sizes = [group["template"]["spec"]["containers"][0]["resources"] for group in workers]
    if any(size != sizes[0] for size in sizes):
        yield "groups of different size: the autoscaler would choose by size, not by priority"
    priorities = [group.get("priority", 0) for group in workers]
    if priorities != sorted(set(priorities), reverse=True):
        yield "no order among the groups: spot machines come first"


def _command(container: Object) -> list[str]:
    hook = container.get("lifecycle", {}).get("preStop", {})
    return hook.get("exec", {}).get("command", [])


def _texts(objects: Objects) -> Iterator[str]:
    for found in by_kind(objects, "ConfigMap"):
        for key, value in found["data"].items():
            if not isinstance(value, str):
                yield f"ConfigMap {found['metadata']['name']}: {key} is no text"


def _callers(objects: Objects) -> Iterator[str]:
    if not by_kind(objects, "NetworkPolicy"):
        yield "no NetworkPolicy"
    for policy in by_kind(objects, "NetworkPolicy"):
        for rule in policy["spec"]["ingress"]:
            if not rule.get("from"):
                yield "anybody may call"
    for budget in by_kind(objects, "PodDisruptionBudget"):
        # Pods without a controller that Kubernetes knows are counted, not subtracted.
        if budget["spec"].get("minAvailable") != 1:
            yield "the head's budget is not minAvailable: 1"


def _job(objects: Objects) -> Iterator[str]:
    spec = job(objects)
    if spec["submissionMode"] != "K8sJobMode":
        yield "the submitter is no pod of its own"
    if spec["backoffLimit"] < 1:
        yield "a lost head ends the run"
    if "jobId" in spec:
        yield "a fixed jobId: a retry would be taken for the first try"
    (settings,) = (
        c["data"] for c in by_kind(objects, "ConfigMap") if "DREAMBATCH_FLAGS" in c["data"]
    )
    flags = settings["DREAMBATCH_FLAGS"].split()
    if "--gpus" in flags:
        yield from _enough(objects, int(flags[flags.index("--gpus") + 1]))


def _enough(objects: Objects, num_gpus: int) -> Iterator[str]:
    first = groups(objects)[1]
    (container,) = first["template"]["spec"]["containers"]
    num_each = int(container["resources"]["limits"].get(GPU, 0))
    if num_each * first["maxReplicas"] < num_gpus:
        yield f"{num_gpus} GPUs are asked for, {first['groupName']} may have fewer"
