"""Directories of packed files: one for each shard, or one for each value of a carried column.

    packed/shard=x<hh>/         by the first byte of the asset id
    packed/<column>=<value>/    the value percent-encoded, null as `__HIVE_DEFAULT_PARTITION__`

This is Hive's convention, and as there, the files in a directory leave the column out: readers take
it from the path (pyarrow and pandas refuse a column that comes from both). They guess its type from
the texts; here it is the type that the carried column has, and a text that spells null is a text.
"""

from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa

from pipeline.errors import UserError

MAX_VALUES = 1000
_MAX_NAME_BYTES = 200
_NULL = "__HIVE_DEFAULT_PARTITION__"


def shard_directory(shard: str) -> str:
    """Where the packed files of a shard lie."""
    return f"packed/shard={shard}"


def value_directory(column: str, value: Any) -> str:
    """Where the packed files lie that have this value. UserError if it is too long for a name."""
    name = f"{column}={_encoded(value)}"
    if len(name) > _MAX_NAME_BYTES:
        raise UserError(
            f"column {column!r} holds a value of {len(str(value))} characters, too long for a "
            "directory's name: partition by another column"
        )
    return f"packed/{name}"


def value_of(name: str, column: pa.Field) -> Any:
    """The value of a partition column, from the name of a packed file."""
    text = name.split("/")[1].partition("=")[2]
    if text == _NULL:
        return None
    if pa.types.is_boolean(column.type):
        return text == "true"
    return int(text) if pa.types.is_integer(column.type) else unquote(text)


def find_column(name: str, carried: pa.Schema) -> pa.Field:
    """The carried column to partition by. UserError if it cannot be."""
    if name not in carried.names:
        known = ", ".join(map(repr, carried.names)) or "none"
        raise UserError(f"cannot partition by {name!r}: expected a carried column, here {known}")
    column = carried.field(name)
    if not name.isidentifier() or name.startswith("_"):
        raise UserError(
            f"cannot partition by {name!r}: expected a name of letters, digits and _, that does "
            "not begin with _"
        )
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_boolean)
    if not any(is_kind(column.type) for is_kind in kinds):
        raise UserError(
            f"cannot partition by {name!r}, which is {column.type}: expected text, integers or bool"
        )
    return column


def _encoded(value: Any) -> str:
    if value is None:
        return _NULL
    if isinstance(value, bool):
        return str(value).lower()
    text = quote(str(value), safe="")
    return text.replace("_", "%5F") if text == _NULL else text
