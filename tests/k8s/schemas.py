"""Every object against its schema, unknown fields refused, as a strict API server does.

The operators' objects against their CRDs, which lie beside the repository and may be absent; the
core ones against lightkube's models, which are generated from Kubernetes' own OpenAPI.
"""

import importlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import yaml
from jsonschema import Draft202012Validator
from lightkube.models.meta_v1 import ObjectMeta

from tests.k8s.conftest import REPOSITORY, Object, Objects

DIRECTORY = REPOSITORY.parent / "shared" / "k8s-schemas"
CRDS = {
    "RayJob": "ray.io_rayjobs.yaml",
    "RayCluster": "ray.io_rayclusters.yaml",
    "PodMonitor": "monitoring.coreos.com_podmonitors.yaml",
    "PrometheusRule": "monitoring.coreos.com_prometheusrules.yaml",
}


def wrong_fields(objects: Objects) -> list[str]:
    """What the schemas refuse."""
    return [message for found in objects for message in _wrong(found)]


def _wrong(found: Object) -> Iterator[str]:
    if found["kind"] not in CRDS:
        yield from _unfit(found, _model(found), found["kind"])
        return
    yield from _unfit(found["metadata"], ObjectMeta, "metadata")
    for error in _validator(found["kind"]).iter_errors(found):
        yield f"{found['kind']}: {error.json_path}: {error.message}"


@cache
def _validator(kind: str) -> Draft202012Validator:
    versions = _load(DIRECTORY / CRDS[kind])["spec"]["versions"]
    (stored,) = [version for version in versions if version["storage"]]
    assert stored["name"] == "v1"
    schema = _strict(stored["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    return Draft202012Validator(schema)


def _load(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _strict(schema: Any) -> Any:
    """Kubernetes' structural schema as plain JSON schema that allows no unknown field."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string") is True:
        strict["type"] = ["integer", "string"]
    is_open = schema.get("x-kubernetes-preserve-unknown-fields") is True
    if isinstance(schema.get("properties"), dict) and not is_open:
        strict.setdefault("additionalProperties", False)
    return strict


def _unfit(value: Object, model: Any, path: str) -> Iterator[str]:
    """What a model of lightkube refuses or, being lenient, drops."""
    try:
        kept = model.from_dict(value).to_dict()
    except msgspec.ValidationError as error:
        yield f"{path}: {error}"
        return
    yield from _dropped(value, kept, path)


def _dropped(value: Any, kept: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in kept:
                yield f"{path}.{key}: unknown field"
            else:
                yield from _dropped(item, kept[key], f"{path}.{key}")
    elif isinstance(value, list):
        for index, (item, other) in enumerate(zip(value, kept, strict=True)):
            yield from _dropped(item, other, f"{path}[{index}]")


def _model(found: Object) -> Any:
    group, _, version = found["apiVersion"].rpartition("/")
    module = f"{group.partition('.')[0] or 'core'}_{version}"
    return getattr(importlib.import_module(f"lightkube.models.{module}"), found["kind"])
