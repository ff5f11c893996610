"""The manifests as they are applied, and the schemas they must keep."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

REPOSITORY = Path(__file__).resolve().parents[2]
K8S = REPOSITORY / "k8s"
SCHEMAS = REPOSITORY.parent / "shared" / "k8s-schemas"


@pytest.fixture(scope="session")
def objects() -> dict[str, dict[str, Any]]:
    """The objects of the base, by kind; none occurs twice."""
    kustomization = _load(K8S / "base" / "kustomization.yaml")
    loaded = [_load(K8S / "base" / name) for name in kustomization["resources"]]
    by_kind = {item["kind"]: item for item in loaded}
    assert len(by_kind) == len(loaded) == 3
    return by_kind


@pytest.fixture(scope="session")
def rayjob_validator() -> Draft202012Validator:
    """Knows every field of RayJob v1, and refuses all others as a strict API server does."""
    path = SCHEMAS / "ray.io_rayjobs.yaml"
    if not path.exists():
        pytest.skip("KubeRay's CRDs are not at ../shared/k8s-schemas")
    versions = _load(path)["spec"]["versions"]
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
