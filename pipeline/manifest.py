"""Read and check a table of prompts: one row, one request; what cannot be made keeps its reason.

    prompt           text, required
    negative_prompt  text, default ""
    seed             0 to 2^63 - 1, default from the prompt's hash (31 bits, the same everywhere)
    num_seeds        the row stands for seed, seed + 1, ...; default the run's, or 1
    recipe           a recipe's name, default the run's
    prompt_id        text or a whole number, default 16 hex digits from the four that decide the row

Text is brought to NFC and freed of blanks around it. A row of several seeds becomes as many
prompts, each with the id `<prompt_id>-<seed>`, and each judged alone: if one of them repeats an
earlier request, the others are still made. Whole floats pass as integers, because pandas turns an
integer column with a gap into floats. Every other column is carried along untouched.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from pipeline.dataset.asset_table import is_reserved
from pipeline.errors import UserError
from pipeline.prompts.first_rows import KEY_BYTES, FirstRows
from pipeline.prompts.prompt_tables import KNOWN_COLUMNS, BadRow, PromptTable, Row, open_table
from pipeline.records import Prompt, Rejection
from pipeline.settings import MAX_NUM_SEEDS
from pipeline.storage import places

MAX_TEXT = 4096
MAX_ID = 256
MAX_SEED = 2**63 - 1
_KEPT_TEXT = 200
_QUOTE = json.JSONEncoder().encode


def read(
    url: str, *, limit: int | None = None, num_seeds: int = 1, batch_rows: int = 1024
) -> Iterator[Prompt | Rejection]:
    """Yield the requests of a manifest in its order, and a Rejection for what cannot be made.

    `limit` ends the reading after that many prompts; `num_seeds` is for rows that say nothing of
    it. The first item raises UserError for a missing
    file, a directory, an unknown suffix, an unreadable file, no `prompt` column, a carried column
    with a reserved name; a manifest without rows raises it at the end.
    """
    if limit is not None and limit < 1:
        raise UserError(f"the limit is {limit}: expected 1 or more prompts")
    if not 1 <= num_seeds <= MAX_NUM_SEEDS:
        raise UserError(f"{num_seeds} seeds a prompt: expected 1 to {MAX_NUM_SEEDS}")
    seen = _Seen()
    num_rows, num_prompts = 0, 0
    with open_table(url) as table:
        carried = _carried(url, table)
        for batch in table.batches(batch_rows):
            faults = _faults(batch, carried)
            for index, values in enumerate(batch):
                row = num_rows + index
                for item in _requests(row, values, carried.names, faults.get(index), num_seeds):
                    item = seen.judge(item) if isinstance(item, Prompt) else item
                    yield item
                    num_prompts += isinstance(item, Prompt)
                    if num_prompts == limit:
                        return
            num_rows += len(batch)
    if num_rows == 0:
        raise UserError(f"the manifest {url} has no rows: write one prompt a row")


def schema(url: str) -> pa.Schema:
    """Names and types of the carried columns, in the manifest's order. UserError as `read`."""
    with open_table(url) as table:
        return _carried(url, table)


def digest(url: str) -> str:
    """sha256 (hex) of the manifest file's bytes, for `run.json`."""
    fs, path = places.connect(url)
    total = hashlib.sha256()
    stream: Any = fs.open(path, "rb")
    with stream:
        while block := stream.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def default_seed(prompt: str) -> int:
    """31 bits of the prompt's sha256: the seed of a row that names none."""
    return int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:4], "big") >> 1


class _RowError(ValueError):
    """Why a row cannot be made."""


@dataclass(frozen=True)
class _Seen:
    """The requests and ids so far, by their hashes, with the row that had them first."""

    requests: FirstRows = field(default_factory=FirstRows)
    ids: FirstRows = field(default_factory=FirstRows)

    def judge(self, prompt: Prompt) -> Prompt | Rejection:
        """The prompt, now remembered; or its rejection, which leaves no trace."""
        four = (prompt.prompt, prompt.negative_prompt, prompt.seed, prompt.recipe)
        request, name = _request_hash(*four)[:KEY_BYTES], _hash(prompt.prompt_id)[:KEY_BYTES]
        if (first := self.requests.get(request)) is not None:
            what = f"repeats the prompt, negative prompt, seed and recipe of row {first}"
        elif (first := self.ids.claim(name, prompt.row)) is not None:
            what = f"repeats the prompt_id {prompt.prompt_id!r} of row {first}"
        else:
            self.requests.claim(request, prompt.row)
            return prompt
        return _rejection(prompt.row, prompt.prompt_id, prompt.prompt, what)


def _faults(batch: Sequence[Row], carried: pa.Schema) -> dict[int, str]:
    """Rows of a batch with a carried value that its column's type cannot hold, and why."""
    faults: dict[int, str] = {}
    for column in carried:
        values = [None if isinstance(row, BadRow) else row.get(column.name) for row in batch]
        if _misfit(values, column.type) is None:
            continue
        for index, value in enumerate(values):
            if (reason := _misfit([value], column.type)) is not None:
                faults.setdefault(index, f"{column.name} cannot be {_brief(value)}: {reason}")
    return faults


def _misfit(values: list[Any], kind: pa.DataType) -> str | None:
    try:
        pa.array(values, kind)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        return " ".join(str(error).split())
    return None


def _carried(url: str, table: PromptTable) -> pa.Schema:
    """The columns that go into the dataset as they are. UserError for names that would clash."""
    names = table.columns.names
    if "prompt" not in names:
        raise UserError(
            f"the manifest {url} has no 'prompt' column: it has {', '.join(map(repr, names))}; "
            "rename the one that holds the prompts"
            if names
            else f"the manifest {url} has no columns: expected at least 'prompt'"
        )
    carried = [column for column in table.columns if column.name not in KNOWN_COLUMNS]
    folded: dict[str, str] = {}
    for name in (column.name for column in carried):
        if is_reserved(name):
            raise UserError(f"the dataset has its own column {name!r}: rename it in {url}")
        if name.lower() in folded:
            raise UserError(
                f"columns {folded[name.lower()]!r} and {name!r} of {url} differ only in case: "
                "rename one, many readers cannot tell them apart"
            )
        folded[name.lower()] = name
    return pa.schema(carried)


def _requests(
    row: int, values: Row, carried: Sequence[str], fault: str | None, usual: int
) -> Iterator[Prompt | Rejection]:
    """The prompts of one row, or its single rejection. `fault`: what is wrong with it already;
    `usual`: how many seeds it stands for if it says nothing."""
    if isinstance(values, BadRow):
        yield _rejection(row, None, None, values.reason)
        return
    try:
        first, num_seeds = _prompt(row, values, carried, usual)
        if fault is not None:
            raise _RowError(fault)
    except _RowError as error:
        yield _rejection(row, values.get("prompt_id"), values.get("prompt"), str(error))
        return
    if num_seeds == 1:
        yield first
        return
    for seed in range(first.seed, first.seed + num_seeds):
        yield replace(first, seed=seed, prompt_id=f"{first.prompt_id}-{seed}")


def _prompt(
    row: int, values: Mapping[str, Any], carried: Sequence[str], usual: int
) -> tuple[Prompt, int]:
    """The row's first prompt and how many seeds it asks for. Raises _RowError."""
    text = _text(values, "prompt", MAX_TEXT)
    if not text:
        raise _RowError("prompt is empty")
    negative_prompt = _text(values, "negative_prompt", MAX_TEXT)
    seed = _integer(values, "seed", 0, MAX_SEED)
    seed = default_seed(text) if seed is None else seed
    recipe = _text(values, "recipe", MAX_ID) or None
    name = _id_text(values) or _request_hash(text, negative_prompt, seed, recipe).hex()[:16]
    num_seeds = _integer(values, "num_seeds", 1, MAX_NUM_SEEDS) or usual
    if seed + num_seeds - 1 > MAX_SEED:
        raise _RowError(f"seed {seed} with num_seeds {num_seeds} passes {MAX_SEED}")
    prompt = Prompt(
        row=row,
        prompt_id=name,
        prompt=text,
        negative_prompt=negative_prompt,
        seed=seed,
        recipe=recipe,
        extra={name: values.get(name) for name in carried},
    )
    return prompt, num_seeds


def _text(values: Mapping[str, Any], name: str, longest: int) -> str:
    """A cell as clean text; "" for null. Raises _RowError for another type, or too long a text."""
    value = values.get(name)
    if value is None or value != value:
        return ""
    if not isinstance(value, str):
        raise _RowError(f"{name} is not a string: got {type(value).__name__} {_brief(value)}")
    text = unicodedata.normalize("NFC", value).strip()
    if len(text) > longest:
        raise _RowError(f"{name} has {len(text)} characters: expected at most {longest}")
    return text


def _id_text(values: Mapping[str, Any]) -> str:
    """The prompt_id as text; whole numbers are ids in many tables, so they pass."""
    value = values.get("prompt_id")
    number = _whole(value)
    return str(number) if number is not None else _text(values, "prompt_id", MAX_ID)


def _integer(values: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    """A cell as an integer in [low, high]; None for null and NaN. Raises _RowError."""
    value = values.get(name)
    if value is None or value != value:
        return None
    number = _whole(value)
    if number is None:
        raise _RowError(f"{name} is not an integer: got {type(value).__name__} {_brief(value)}")
    if not low <= number <= high:
        raise _RowError(f"{name} is {number}: expected {low} to {high}")
    return number


def _whole(value: object) -> int | None:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _request_hash(prompt: str, negative_prompt: str, seed: int, recipe: str | None) -> bytes:
    name = "null" if recipe is None else _QUOTE(recipe)
    return _hash(f"[{_QUOTE(prompt)}, {_QUOTE(negative_prompt)}, {seed}, {name}]")


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _rejection(row: int, prompt_id: object, prompt: object, reason: str) -> Rejection:
    """Ids and prompts that are no text are left out; long ones are cut short."""
    texts = (
        value[:_KEPT_TEXT] if isinstance(value, str) else None for value in (prompt_id, prompt)
    )
    return Rejection(row=row, prompt_id=next(texts), prompt=next(texts), reason=reason)


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
