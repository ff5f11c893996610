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
