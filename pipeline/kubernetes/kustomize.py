"""`kubectl kustomize`, for the directives that the files of `k8s/` use, so that none is needed.

    resources            files, and directories with a kustomization of their own
    configMapGenerator   from files, under a name without a hash
    patches              operations of RFC 6902, or `$patch: delete`, each with its target
    replacements         a field of one object put into another
    images               names and tags

In that order. The real program gives the same objects: a test compares them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonpatch
import jsonpointer
import yaml

Object = dict[str, Any]
"""One Kubernetes object, as its YAML says."""

FILE = "kustomization.yaml"
_DIRECTIVES = {
    *("apiVersion", "kind", "resources", "configMapGenerator", "generatorOptions"),
    *("patches", "replacements", "images"),
}


def build(directory: Path) -> list[Object]:
    """The objects of a kustomization, in the order in which its files name them."""
    (kustomization,) = load(directory / FILE)
    unknown = kustomization.keys() - _DIRECTIVES
    assert not unknown, f"{directory}: directives that are not understood: {sorted(unknown)}"
    names = kustomization.get("resources", [])
    objects = [found for name in names for found in _read(directory / name)]
    for generator in kustomization.get("configMapGenerator", []):
        objects.append(_config_map(generator, kustomization["generatorOptions"], directory))
    return _transformed(objects, kustomization, directory)


def load(path: Path) -> list[Any]:
    """All documents of a YAML file; what an anchor made common to several places is copied."""
    documents = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    return [json.loads(json.dumps(document)) for document in documents]


def set_image(value: Any, old: str, new: str) -> None:
    """Gives containers with the image `old`, whatever its tag, the image `new`; in place."""
    for container in _containers(value):
        if container["image"].partition(":")[0] == old:
            container["image"] = new


def _read(path: Path) -> list[Object]:
    return build(path) if path.is_dir() else load(path)


def _config_map(
    generator: Mapping[str, Any], options: Mapping[str, Any], directory: Path
) -> Object:
    assert options["disableNameSuffixHash"] is True, "nothing would find a name with a hash"
    metadata = {key: options[key] for key in ("labels", "annotations") if key in options}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": generator["name"], **metadata},
        "data": {n: (directory / n).read_text(encoding="utf-8") for n in generator["files"]},
    }


def _transformed(
    objects: list[Object], kustomization: Mapping[str, Any], directory: Path
) -> list[Object]:
    for patch in kustomization.get("patches", []):
        (change,) = load(directory / patch["path"])
        objects = _patched(objects, patch["target"], change)
    for replacement in kustomization.get("replacements", []):
        _replace(objects, replacement)
    for image in kustomization.get("images", []):
        set_image(objects, image["name"], f"{image['newName']}:{image['newTag']}")
    return objects


def _patched(
    objects: Sequence[Object],
    target: Mapping[str, str],
    change: list[dict[str, Any]] | dict[str, Any],
) -> list[Object]:
    index = objects.index(_find(objects, target))
    before, after = list(objects[:index]), list(objects[index + 1 :])
    if isinstance(change, dict):
        assert change["$patch"] == "delete", "merging is not understood, only deleting"
        return before + after
    return [*before, jsonpatch.apply_patch(objects[index], change), *after]


def _replace(objects: Sequence[Object], replacement: Mapping[str, Any]) -> None:
    source = replacement["source"]
    found = _find(objects, source)
    value = jsonpointer.resolve_pointer(found, _pointer(source["fieldPath"]))
    for target in replacement["targets"]:
        receiver = _find(objects, target["select"])
        for field in target["fieldPaths"]:
            jsonpointer.set_pointer(receiver, _pointer(field), json.loads(json.dumps(value)))


def _pointer(field: str) -> str:
    return "/" + field.replace(".", "/")


def _find(objects: Sequence[Object], wanted: Mapping[str, str]) -> Object:
    (found,) = (
        candidate
        for candidate in objects
        if (candidate["kind"], candidate["metadata"]["name"]) == (wanted["kind"], wanted["name"])
    )
    return found


def _containers(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        for item in value:
            yield from _containers(item)
    elif isinstance(value, dict):
        if isinstance(value.get("image"), str):
            yield value
        for item in value.values():
            yield from _containers(item)
