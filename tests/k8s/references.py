"""What an object names in another one, and whether it is there."""

from collections.abc import Iterator, Mapping

from tests.k8s.conftest import Object, Objects, by_kind, cluster, groups, templates

KUBERAY_LABELS = {"ray.io/node-type", "ray.io/group", "ray.io/cluster"}
"""Labels that the operator puts onto pods, whatever the template says."""


def broken_references(objects: Objects) -> list[str]:
    """Everything that is named and not there."""
    return [
        *_names_twice(objects),
        *_of_pods(objects),
        *_of_selectors(objects),
        *_of_ports(objects),
        *_of_namespaces(objects),
    ]


def _named(objects: Objects, kind: str) -> set[str]:
    return {found["metadata"]["name"] for found in by_kind(objects, kind)}


def _names_twice(objects: Objects) -> Iterator[str]:
    seen = [(found["kind"], found["metadata"]["name"]) for found in objects]
    yield from (
        f"{kind} {name} is there twice" for kind, name in set(seen) if seen.count((kind, name)) > 1
    )


def _of_namespaces(objects: Objects) -> Iterator[str]:
    namespaces = {found["metadata"].get("namespace") for found in objects}
    if len(namespaces) > 1:
        yield f"objects of several namespaces: {namespaces}"


def _of_pods(objects: Objects) -> Iterator[str]:
    for name, template in templates(objects).items():
        pod = template["spec"]
        account = pod.get("serviceAccountName")
        if account not in _named(objects, "ServiceAccount"):
            yield f"{name}: no ServiceAccount {account}"
        yield from _of_volumes(objects, name, pod)
        for container in pod["containers"]:
            yield from _of_environment(objects, name, container)
            yield from _of_mounts(name, pod, container)
    options = cluster(objects).get("autoscalerOptions", {})
    yield from _of_mounts("autoscaler", templates(objects)["head"]["spec"], options)


def _of_volumes(objects: Objects, name: str, pod: Object) -> Iterator[str]:
    kinds = {
        "configMap": ("ConfigMap", "name"),
        "secret": ("Secret", "secretName"),
        "persistentVolumeClaim": ("PersistentVolumeClaim", "claimName"),
    }
    for volume in pod.get("volumes", []):
        for field, (kind, key) in kinds.items():
            if field in volume and volume[field][key] not in _named(objects, kind):
                yield f"{name}: no {kind} {volume[field][key]}"


def _of_environment(objects: Objects, name: str, container: Object) -> Iterator[str]:
    kinds = {"configMapRef": "ConfigMap", "secretRef": "Secret"}
    keys = {"configMapKeyRef": "ConfigMap", "secretKeyRef": "Secret"}
    for source in container.get("envFrom", []):
        for field, kind in kinds.items():
            yield from _of_source(objects, name, source.get(field), kind)
    for variable in container.get("env", []):
        for field, kind in keys.items():
            yield from _of_source(objects, name, variable.get("valueFrom", {}).get(field), kind)


def _of_source(objects: Objects, name: str, source: Object | None, kind: str) -> Iterator[str]:
    if source is None or source.get("optional"):
        return
    if source["name"] not in _named(objects, kind):
        yield f"{name}: no {kind} {source['name']}"


def _of_mounts(name: str, pod: Object, container: Object) -> Iterator[str]:
    volumes = {volume["name"] for volume in pod.get("volumes", [])}
    for mount in container.get("volumeMounts", []):
        if mount["name"] not in volumes:
            yield f"{name}: no volume {mount['name']}"


def _pod_labels(objects: Objects) -> dict[str, dict[str, str]]:
    """The labels of each pod that comes to be, those of the operator included."""
    found = {}
    for name, template in templates(objects).items():
        found[name] = dict(template["metadata"]["labels"])
        if name != "submitter":
            node_type = "head" if name == "head" else "worker"
            found[name] |= {"ray.io/node-type": node_type, "ray.io/group": name}
    return found


def _selected(objects: Objects, selector: Mapping[str, Object]) -> list[str]:
    wanted = selector["matchLabels"].items()
    return [name for name, labels in _pod_labels(objects).items() if wanted <= labels.items()]


def _of_selectors(objects: Objects) -> Iterator[str]:
    workers = [group["groupName"] for group in groups(objects)[1:]]
    expected = {
        "PodDisruptionBudget": [["head"]],
        "NetworkPolicy": [sorted(templates(objects))],
        "PodMonitor": [["head"], sorted(workers)],
    }
    fields = {"NetworkPolicy": "podSelector"}
    for kind, wanted in expected.items():
        for found in by_kind(objects, kind):
            selected = sorted(_selected(objects, found["spec"][fields.get(kind, "selector")]))
            if selected not in wanted:
                yield f"{kind} {found['metadata']['name']} selects {selected}"


def _of_ports(objects: Objects) -> Iterator[str]:
    ports = {
        name: {port["name"] for c in template["spec"]["containers"] for port in c.get("ports", [])}
        for name, template in templates(objects).items()
    }
    for monitor in by_kind(objects, "PodMonitor"):
        scraped = {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]}
        for name in _selected(objects, monitor["spec"]["selector"]):
            for port in sorted(scraped - ports[name]):
                yield f"PodMonitor {monitor['metadata']['name']}: {name} has no {port}"
    everywhere = set().union(*ports.values())
    for policy in by_kind(objects, "NetworkPolicy"):
        for rule in policy["spec"]["ingress"]:
            for port in rule.get("ports", []):
                if port["port"] not in everywhere:
                    yield f"NetworkPolicy {policy['metadata']['name']}: no port {port['port']}"
