"""An overlay of `k8s/` with a user's own values in the places that are meant for them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline.kubernetes import kustomize
from pipeline.kubernetes.kustomize import Object
from pipeline.kubernetes.values import Values

BASE_NAME = "dreambatch"
"""What job, cluster and image are called in the files."""

ACCELERATOR_LABEL = "cloud.google.com/gke-accelerator"
GPU_RESOURCE = "nvidia.com/gpu"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
GOOGLE_ANNOTATION = "iam.gke.io/gcp-service-account"

DASHBOARD_LABEL = "grafana_dashboard"

_MONITORING = {"PodMonitor", "PrometheusRule"}
_NAMING = {"name", "serviceAccountName", "app.kubernetes.io/instance"}
"""Keys whose values name one of the objects, or the job whose pods are meant."""


def root() -> Path:
    """The directory that holds `k8s/`: an installed package brings it, a checkout is it."""
    packaged = Path(__file__).parent / "files"
    return packaged if packaged.is_dir() else Path(__file__).parents[2]


def render(values: Values) -> str:
    """The objects as YAML. UserError for values that cannot be."""
    return to_yaml(objects(values))


def objects(values: Values) -> list[Object]:
    """The objects of the chosen overlay with these values. UserError for values that cannot be."""
    values.check()
    built = kustomize.build(root() / "k8s" / "overlays" / values.overlay)
    if not values.monitoring:
        built = [found for found in built if not _is_monitoring(found)]
    kustomize.set_image(built, BASE_NAME, values.image)
    for found in built:
        _set_values(found, values)
    _rename(built, values.name)
    return built


def to_yaml(documents: Iterable[Object]) -> str:
    """The objects in the order given, each field in the order of the files."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Longer texts as blocks, which people can read."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _set_values(found: Object, values: Values) -> None:
    kind, metadata = found["kind"], found["metadata"]
    if values.namespace is not None:
        metadata["namespace"] = values.namespace
    if kind == "ServiceAccount" and values.google_service_account is not None:
        metadata["annotations"] = {GOOGLE_ANNOTATION: values.google_service_account}
    elif kind == "ConfigMap" and not _is_monitoring(found):
        found["data"] = _run_data(values)
    elif kind == "RayCluster":
        _set_machines(found["spec"], values)
    elif kind == "RayJob":
        _set_machines(found["spec"]["rayClusterSpec"], values)
        if values.queue is not None:
            metadata["labels"][QUEUE_LABEL] = values.queue


def _run_data(values: Values) -> dict[str, str]:
    assert values.manifest is not None
    assert values.output is not None
    return {
        "DREAMBATCH_MANIFEST": values.manifest,
        "DREAMBATCH_OUTPUT": values.output,
        "DREAMBATCH_FLAGS": " ".join(values.run_flags()),
    }


def _set_machines(cluster: Object, values: Values) -> None:
    for group in cluster["workerGroupSpecs"]:
        is_spare = group["groupName"].startswith("on-demand")
        spare = values.gpus if values.on_demand_gpus is None else values.on_demand_gpus
        num_machines = values.machines(spare if is_spare else values.gpus)
        group["maxReplicas"] = num_machines
        if not cluster["enableInTreeAutoscaling"]:
            group["replicas"] = group["minReplicas"] = num_machines
        pod = group["template"]["spec"]
        if values.accelerator is not None:
            pod["nodeSelector"][ACCELERATOR_LABEL] = values.accelerator
        (container,) = pod["containers"]
        container["resources"] = _resources(values)


def _resources(values: Values) -> Object:
    num_gpus = values.gpus_per_machine
    amounts = {
        "cpu": str(num_gpus * values.cpus_per_gpu),
        "memory": f"{num_gpus * values.memory_per_gpu}Gi",
        GPU_RESOURCE: str(num_gpus),
    }
    return {"requests": dict(amounts), "limits": dict(amounts)}


def _is_monitoring(found: Object) -> bool:
    return found["kind"] in _MONITORING or DASHBOARD_LABEL in found["metadata"].get("labels", {})


def _rename(built: Sequence[Object], name: str) -> None:
    """Gives a run's objects another name; what watches over all runs keeps its own."""
    own = [found for found in built if not _is_monitoring(found)]
    old = {found["metadata"]["name"] for found in own}
    names = {before: name + before.removeprefix(BASE_NAME) for before in old}
    for found in own:
        _exchange(found, names)


def _exchange(value: Any, names: dict[str, str]) -> None:
    if isinstance(value, list):
        for item in value:
            _exchange(item, names)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in _NAMING and item in names:
                value[key] = names[item]
            else:
                _exchange(item, names)
