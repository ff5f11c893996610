"""Records as JSON objects: written whole, and checked when they are read."""

import json
from collections.abc import Mapping
from dataclasses import fields
from types import UnionType
from typing import Any, TypeVar, get_origin

from pipeline.errors import InvalidStore
from pipeline.records import Document
from pipeline.storage.objects import Objects

_D = TypeVar("_D", bound=Document)
_AS_JSON: dict[Any, Any] = {float: (int, float), tuple: list}


def write(objects: Objects, name: str, document: Mapping[str, Any], *, create: bool) -> bool:
    """Write a JSON object. With `create`, False if the name is taken, which stays as it is."""
    data = json.dumps(document, indent=2, ensure_ascii=False).encode()
    if create:
        return objects.create(name, data)
    objects.publish(name, data)
    return True


def read(objects: Objects, name: str) -> dict[str, Any] | None:
    """A JSON object, None if there is none of that name. InvalidStore for anything else."""
    data = objects.read(name)
    if data is None:
        return None
    try:
        document = json.loads(data)
        if not isinstance(document, dict):
            raise ValueError(f"expected an object, got {type(document).__name__}")
    except (ValueError, RecursionError) as error:
        raise InvalidStore(_unreadable(objects, name, error)) from error
    return document


def read_record(objects: Objects, name: str, kind: type[_D]) -> _D | None:
    """A record, None if there is none of that name. InvalidStore for anything else."""
    document = read(objects, name)
    if document is None:
        return None
    try:
        record = kind.from_dict(document)
        _check(record)
    except TypeError as error:
        raise InvalidStore(_unreadable(objects, name, error)) from error
    return record


def _check(record: Document) -> None:
    """TypeError where a field holds something of another type, looking no deeper than JSON does:
    whole numbers are floats, lists are tuples."""
    for field in fields(record):
        value, kind = getattr(record, field.name), get_origin(field.type) or field.type
        expected = _AS_JSON.get(kind, field.type if kind is UnionType else kind)
        if not isinstance(value, expected):
            raise TypeError(f"{field.name} is a {type(value).__name__}")


def _unreadable(objects: Objects, name: str, error: Exception) -> str:
    return (
        f"{objects.address(name)} is damaged or not ours: delete it and run again "
        f"({' '.join(str(error).split())})"
    )
