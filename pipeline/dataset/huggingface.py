"""Schema metadata by which Hugging Face `datasets` shows pictures without being told to.

`datasets.load_dataset("parquet", ...)` reads the schema's `huggingface` entry, a JSON object
{"info": {"features": {column: feature}}}, where a picture is {"_type": "Image"}, a list
{"_type": "List", "feature": ...}, a struct an object of its own, anything else a `Value`.
"""

import json
from typing import Any

import pyarrow as pa

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

_VALUE_NAMES = {
    pa.float16(): "float16",
    pa.float32(): "float32",
    pa.float64(): "float64",
    pa.date32(): "date32",
    pa.date64(): "date64",
}


def metadata(schema: pa.Schema) -> dict[str, str] | None:
    """The `huggingface` entry for a schema; None if a column is of a type `datasets` cannot name
    (a map), for then it would refuse the file."""
    try:
        features = {field.name: _feature(field.type) for field in schema}
    except NotImplementedError:
        return None
    return {"huggingface": json.dumps({"info": {"features": features}})}


def _feature(data_type: pa.DataType) -> dict[str, Any]:
    if data_type == IMAGE:
        return {"_type": "Image"}
    if pa.types.is_struct(data_type):
        return {field.name: _feature(field.type) for field in data_type.fields}
    if pa.types.is_list(data_type):
        return {"feature": _feature(data_type.value_type), "_type": "List"}
    if pa.types.is_fixed_size_list(data_type):
        inner = _feature(data_type.value_type)
        return {"feature": inner, "length": data_type.list_size, "_type": "List"}
    if pa.types.is_nested(data_type):
        raise NotImplementedError(str(data_type))
    return {"dtype": _VALUE_NAMES.get(data_type, str(data_type)), "_type": "Value"}


def yaml_features(schema: pa.Schema) -> list[dict[str, Any]]:
    """The same features as the front matter of a dataset card has them, under `dataset_info`.

    A list of what has only a type, or only fields, holds that itself. NotImplementedError for a
    type `datasets` cannot name.
    """
    return [{"name": field.name, **_in_yaml(_feature(field.type))} for field in schema]


def _in_yaml(feature: dict[str, Any]) -> dict[str, Any]:
    kind = feature.get("_type")
    if kind == "Image":
        return {"dtype": "image"}
    if kind == "Value":
        return {"dtype": feature["dtype"]}
    if kind == "List":
        inner = _in_yaml(feature["feature"])
        is_simple = list(inner) in (["dtype"], ["struct"])
        length = {"length": feature["length"]} if "length" in feature else {}
        return {"list": next(iter(inner.values())) if is_simple else inner, **length}
    return {"struct": [{"name": name, **_in_yaml(inner)} for name, inner in feature.items()]}
