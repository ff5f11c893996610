"""Prompt tables as rows of Python values, whatever the format: Parquet, CSV, JSONL, text.

A format only decides how rows are found and typed:

    .parquet .pq      the file's own types; dictionaries are decoded, text and lists of any width
                      become `string` and `list`, columns without a type become `string`
    .csv              a header, then text; an empty cell is null; carried columns are strings
    .jsonl .ndjson    an object a line, empty lines skipped; types are those that fit all rows
    .txt              a prompt a line

Rows are counted from 0, without header and skipped lines. A row that cannot be read is a `BadRow`
in its place, so that the rows around it stay usable. pandas writes its index into a column without
a name (CSV) or called `__index_level_<n>__` (Parquet); it is not the user's and is left out.
"""

import csv
import io
import itertools
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Protocol, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UserError
from pipeline.storage import places

KNOWN_COLUMNS = ("prompt", "prompt_id", "seed", "num_seeds", "negative_prompt", "recipe")
INTEGER_COLUMNS = ("seed", "num_seeds")
_MAX_LINE = 1 << 24
"""Bytes of a line, characters in CSV: what a longer one holds is not looked at."""

_UNREADABLE = (pa.ArrowException, LookupError, OverflowError, ValueError)
"""What pyarrow raises for a value, or a time zone, that Python has no like of."""

_PANDAS_INDEX = re.compile(r"(__index_level_\d+__)?")


@dataclass(frozen=True)
class BadRow:
    """A row that could not be read, and why."""

    reason: str


Row = dict[str, Any] | BadRow


class PromptTable(Protocol):
    """An opened table: the names and types of its columns, and its rows in batches (once)."""

    columns: pa.Schema

    def batches(self, batch_rows: int) -> Iterator[list[Row]]:
        """Lists of at most `batch_rows` rows, in the table's order. Raises UserError."""
        ...


@contextmanager
def open_table(url: str) -> Iterator[PromptTable]:
    """Open a table by its suffix. UserError: missing, a directory, another suffix, unreadable."""
    fs, path = places.connect(url)
    suffix = PurePosixPath(path).suffix.lower()
    try:
        if fs.info(path)["type"] == "directory":
            raise UserError(f"the manifest {url} is a directory: name one file in it")
        if suffix not in _FORMATS:
            expected = ", ".join(_FORMATS)
            raise UserError(f"the manifest {url} ends in {suffix!r}: expected {expected}")
        stream: Any = fs.open(path, "rb")
    except Exception as error:
        if places.is_final(error):
            reason = places.reason(error)
            raise UserError(
                f"cannot read the manifest {url}: {reason}; name a file that can be read"
            ) from error
        raise
    with stream:
        yield _FORMATS[suffix](url, stream)


def plain_type(data_type: pa.DataType) -> pa.DataType:
    """The type in which a column is carried, so that how a writer encodes it does not matter."""
    if isinstance(data_type, pa.BaseExtensionType):
        return plain_type(data_type.storage_type)
    if pa.types.is_dictionary(data_type):
        return plain_type(data_type.value_type)
    if (
        pa.types.is_large_string(data_type)
        or pa.types.is_string_view(data_type)
        or pa.types.is_null(data_type)
    ):
        return pa.string()
    if pa.types.is_large_binary(data_type) or pa.types.is_binary_view(data_type):
        return pa.binary()
    if pa.types.is_list(data_type) or pa.types.is_large_list(data_type):
        return pa.list_(plain_type(data_type.value_type))
    if pa.types.is_struct(data_type):
        return pa.struct([pa.field(f.name, plain_type(f.type)) for f in data_type.fields])
    return data_type


class _ParquetTable:
    def __init__(self, url: str, stream: BinaryIO) -> None:
        self._url = url
        try:
            self._file = pq.ParquetFile(stream)
            found = self._file.schema_arrow
        except (pa.ArrowException, OSError) as error:
            if not _is_damage(error):
                raise
            text = (
                f"the manifest {url} is not a Parquet file: {_first_line(error)}; name one that is"
            )
            raise UserError(text) from error
        names = [name for name in found.names if not _PANDAS_INDEX.fullmatch(name)]
        _check_distinct(url, names)
        self.columns = pa.schema([(name, plain_type(found.field(name).type)) for name in names])

    def batches(self, batch_rows: int) -> Iterator[list[Row]]:
        names = self.columns.names
        try:
            for batch in self._file.iter_batches(batch_size=batch_rows, columns=names):
                bad: dict[int, BadRow] = {}
                columns = [_python_values(name, batch.column(name), bad) for name in names]
                rows = zip(*columns, strict=True)
                yield [
                    bad.get(index) or dict(zip(names, row, strict=True))
                    for index, row in enumerate(rows)
                ]
        except (pa.ArrowException, OSError) as error:
            if not _is_damage(error):
                raise
            raise UserError(f"the manifest {self._url} is damaged: {_first_line(error)}") from error


def _is_damage(error: Exception) -> bool:
    """Whether the file is at fault: pyarrow says so in its own errors, or in a bare OSError, which
    has no number; those of the disk or the network have one, or a class of their own."""
    return not isinstance(error, OSError) or (type(error) is OSError and error.errno is None)


def _python_values(name: str, column: pa.Array, bad: dict[int, BadRow]) -> list[Any]:
    """The column's values. Text that is not UTF-8 stays bytes, for the row's own check to name;
    rows with a value that Python cannot hold, such as a date after the year 9999, go to `bad`."""
    if isinstance(column, pa.ExtensionArray):
        return _python_values(name, column.storage, bad)
    try:
        return column.to_pylist()
    except _UNREADABLE:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            raw = column.cast(pa.large_binary())
            return [_text_or_bytes(value) for value in raw.to_pylist()]
    values: list[Any] = []
    for index, scalar in enumerate(column):
        try:
            values.append(scalar.as_py())
        except _UNREADABLE as error:
            values.append(None)
            bad[index] = BadRow(f"its {name!r} cannot be read: {_first_line(error)}")
    return values


def _text_or_bytes(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value


class _CsvTable:
    def __init__(self, url: str, stream: BinaryIO) -> None:
        self._url = url
        self._text = io.TextIOWrapper(
            stream, encoding="utf-8-sig", errors="surrogateescape", newline=""
        )
        self._reader = csv.reader(_short_lines(url, self._text), strict=True)
        self._header = [name.strip() for name in next(self._lines(), [])]
        if not _is_unicode(self._header):
            raise UserError(f"the manifest {url} is not UTF-8: save it in that encoding")
        names = [name for name in self._header if not _PANDAS_INDEX.fullmatch(name)]
        _check_distinct(url, names)
        self.columns = pa.schema([(name, pa.string()) for name in names])

    def _lines(self) -> Iterator[list[str]]:
        try:
            yield from self._reader
        except csv.Error as error:
            line = self._reader.line_num
            raise UserError(
                f"the manifest {self._url} is no CSV in line {line}: {error}"
            ) from error

    def batches(self, batch_rows: int) -> Iterator[list[Row]]:
        rows = (self._row(cells) for cells in self._lines() if cells)
        return _batched(rows, batch_rows)

    def _row(self, cells: list[str]) -> Row:
        if len(cells) != len(self._header):
            return BadRow(f"it has {len(cells)} cells, and the header {len(self._header)}")
        if not _is_unicode(cells):
            return BadRow("it is not UTF-8")
        return {
            name: _csv_integer(cell) if name in INTEGER_COLUMNS else cell or None
            for name, cell in zip(self._header, cells, strict=True)
        }


def _short_lines(url: str, text: TextIO) -> Iterator[str]:
    for number in itertools.count(1):
        if len(line := text.readline(_MAX_LINE + 1)) > _MAX_LINE:
            raise UserError(
                f"the manifest {url} has more than {_MAX_LINE} characters in line {number}: "
                "is it CSV?"
            )
        if not line:
            return
        yield line


def _csv_integer(cell: str) -> int | float | str | None:
    """A number as it is written, for the row's own check; pandas writes gaps' columns as 3.0."""
    for kind in (int, float):
        try:
            return kind(cell) if cell.strip() else None
        except ValueError:
            continue
    return cell


class _TextTable:
    columns = pa.schema([("prompt", pa.string())])

    def __init__(self, url: str, stream: BinaryIO) -> None:
        self._stream = _buffered(stream)

    def batches(self, batch_rows: int) -> Iterator[list[Row]]:
        return _batched(map(_text_row, _lines(self._stream)), batch_rows)


def _lines(stream: io.BufferedReader) -> Iterator[bytes | BadRow]:
    """The lines of a file without the mark at its beginning; their length is bounded, so that a
    file without any does not fill the memory."""
    mark = b"\xef\xbb\xbf"
    while line := stream.readline(_MAX_LINE + 1):
        if len(line) <= _MAX_LINE:
            yield line.removeprefix(mark)
        else:
            yield BadRow(f"its line has more than {_MAX_LINE} bytes")
            while line and not line.endswith(b"\n"):
                line = stream.readline(_MAX_LINE)
        mark = b""


def _buffered(stream: Any) -> io.BufferedReader:
    """The file with a `readline(size)`, which those of remote places lack."""
    return io.BufferedReader(stream)


def _text_row(line: bytes | BadRow) -> Row:
    if isinstance(line, BadRow):
        return line
    return {"prompt": _text_or_bytes(line.rstrip(b"\r\n"))}


class _JsonTable:
    """Read twice: JSON has no schema, so the first pass finds the types that fit every row."""

    def __init__(self, url: str, stream: BinaryIO) -> None:
        self._url, self._stream = url, _buffered(stream)
        found: dict[str, pa.DataType] = {}
        for batch in self.batches(8192):
            _widen(url, found, [row for row in batch if isinstance(row, dict)])
        self.columns = pa.schema([(name, plain_type(kind)) for name, kind in found.items()])

    def batches(self, batch_rows: int) -> Iterator[list[Row]]:
        self._stream.seek(0)
        lines = _lines(self._stream)
        rows = (_json_row(line) for line in lines if isinstance(line, BadRow) or line.strip())
        return _batched(rows, batch_rows)


def _json_row(line: bytes | BadRow) -> Row:
    if isinstance(line, BadRow):
        return line
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return BadRow(f"it is not JSON: {error}")
    if not isinstance(row, dict):
        return BadRow(f"it is not a JSON object: {line[:40]!r}")
    if b"\\u" in line and not _is_unicode(row):
        return BadRow("it has half of a surrogate pair")
    return row


def _is_unicode(value: object) -> bool:
    """Whether all text in a JSON-like value can be written as UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _widen(url: str, found: dict[str, pa.DataType], rows: list[dict[str, Any]]) -> None:
    """Widen `found` until it fits `rows`: null to anything, integer to float, structs by union.

    Known columns are checked value by value, so that one wrong value costs one row.
    """
    for name in dict.fromkeys(name for row in rows for name in row):
        if name in KNOWN_COLUMNS:
            found[name] = pa.string()
            continue
        try:
            seen = pa.array([row.get(name) for row in rows]).type
            both = [pa.schema([(name, kind)]) for kind in (found.get(name, pa.null()), seen)]
            found[name] = pa.unify_schemas(both, promote_options="permissive").field(name).type
        except (pa.ArrowException, OverflowError) as error:
            text = f"column {name!r} of {url} mixes types: {_first_line(error)}"
            raise UserError(f"{text}; give all its values one type") from error


_FORMATS: dict[str, Callable[[str, BinaryIO], PromptTable]] = {
    ".parquet": _ParquetTable,
    ".pq": _ParquetTable,
    ".csv": _CsvTable,
    ".jsonl": _JsonTable,
    ".ndjson": _JsonTable,
    ".txt": _TextTable,
}


def _batched(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _check_distinct(url: str, names: list[str]) -> None:
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise UserError(f"the manifest {url} has more than one column {sorted(repeated)[0]!r}")


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
