"""What must be true of an output once its run is complete, whatever happened on the way.

Everything is looked up the long way, by listing and reading, without the code that wrote it.
"""

import hashlib
import io
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.clusters import is_running
from tests.faults.places import Place

Row = Mapping[str, Any]
_SHARDED = re.compile(r"(?:assets|packed)/shard=x([0-9a-f]{2})/")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found; prompts in no order."""

    committed: list[str]
    quarantined: list[str]
    rejected: list[int]
    num_litter: int
    """Hidden temporaries, which killed writers leave on a local disk."""


def check(place: Place, manifest: Path, *, is_shared: bool = False) -> Verdict:
    """AssertionError unless committed = manifest - rejected - quarantined, each once and whole, and
    nothing is left that a complete run has no use for.

    `is_shared`: two drivers worked on it at a time. Each may have given the same prompt up, in a
    record of its own, or one what the other committed in the end; an asset is once there even so.
    """
    names = list(place.objects())
    shown = [name for name in names if not PurePosixPath(name).name.startswith(".")]
    for name in shown:
        if name.endswith(".json"):
            assert isinstance(json.loads(place.read(name)), dict), name
    rows = _visible_rows(place, shown)
    quarantined = _quarantined(place, shown, may_repeat=is_shared)
    if is_shared:
        quarantined = {name: x for name, x in quarantined.items() if name not in rows}
    rejected = _rejected(place, shown)
    wanted = pq.read_table(manifest).to_pylist()
    rest = [_clean(row["prompt"]) for k, row in enumerate(wanted) if k not in rejected]
    committed = [row["prompt"] for row in rows.values()]
    given_up = [failure["prompt"] for failure in quarantined.values()]
    assert not rows.keys() & quarantined.keys(), "committed and quarantined"
    found = Counter(committed) + Counter(given_up)
    assert found == Counter(rest), (
        f"missing {Counter(rest) - found}, too much {found - Counter(rest)}"
    )
    _check_rest(place, shown, rows)
    return Verdict(
        committed=committed,
        quarantined=given_up,
        rejected=sorted(rejected),
        num_litter=len(names) - len(shown),
    )


def _clean(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()


def _visible_rows(place: Place, names: list[str]) -> dict[str, Row]:
    """The rows that a reader sees, by asset id, all looked at; none may be there twice."""
    rows: dict[str, Row] = {}
    for name in _visible_files(place, names):
        for row in _table(place, name).to_pylist():
            asset_id = row["asset_id"]
            _check_row(row, name)
            if name.startswith("assets/"):
                assert PurePosixPath(name).stem == asset_id, name
            other = rows.setdefault(asset_id, row)
            assert other["attempt_id"] == row["attempt_id"], "two of an asset"
            assert other is row or name.startswith("assets/"), "twice in packed files"
    return rows


def _visible_files(place: Place, names: list[str]) -> Iterator[str]:
    """What the newest snapshot names, then the files of single assets."""
    snapshots = sorted(x for x in names if x.startswith("_snapshots/") and x.endswith(".json"))
    if snapshots:
        document = json.loads(place.read(snapshots[-1]))
        yield from (name for name in names if name.startswith("packed/") and name in str(document))
    yield from (name for name in names if name.startswith("assets/"))


def _table(place: Place, name: str) -> pa.Table:
    return pq.ParquetFile(io.BytesIO(place.read(name))).read()


def _check_row(row: Row, name: str) -> None:
    """Its name is what it should be, its pictures and its mesh can be read."""
    request = {
        "prompt": row["prompt"],
        "negative_prompt": row["negative_prompt"],
        "seed": row["seed"],
        "recipe_digest": row["recipe_digest"],
        "guidance_digest": row["guidance_digest"],
    }
    text = json.dumps(request, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest()[:32] == row["asset_id"], name
    sharded = _SHARDED.match(name)
    assert sharded, name
    assert row["asset_id"].startswith(sharded[1]), name
    assert row["status"] == "ok", name
    assert row["views"], name
    pictures = [view[kind] for view in row["views"] for kind in ("image", "depth", "normal")]
    for picture in (*pictures, row["thumb"], row["turntable"]):
        Image.open(io.BytesIO(picture["bytes"])).load()
    assert (row["mesh_glb"] is None) == (row["mesh_status"] == "empty"), name
    assert row["mesh_glb"] is None or row["mesh_glb"][:4] == b"glTF", name


def _quarantined(place: Place, names: list[str], *, may_repeat: bool) -> dict[str, Row]:
    """The failures that gave an asset up and were not pardoned, by asset id."""
    pardoned: set[str] = set()
    for name in names:
        if name.startswith("_pardons/"):
            pardoned.update(json.loads(place.read(name))["attempt_ids"])
    failures = [json.loads(place.read(name)) for name in names if name.startswith("_failures/")]
    given_up = [f for f in failures if f["quarantined"] and f["attempt_id"] not in pardoned]
    found = {failure["asset_id"]: failure for failure in given_up}
    twice = Counter(failure["prompt"] for failure in given_up) - Counter(
        failure["prompt"] for failure in found.values()
    )
    assert may_repeat or not twice, f"given up twice: {twice}"
    return found


def _rejected(place: Place, names: list[str]) -> set[int]:
    """Row numbers, of all runs: they had one manifest."""
    tables = [_table(place, name) for name in names if name.startswith("_rejected/")]
    return {row for table in tables for row in table["row"].to_pylist()}


def _check_rest(place: Place, names: list[str], rows: Mapping[str, Row]) -> None:
    left = [name for name in names if name.startswith("_embeddings/")]
    assert not left, f"embeddings left: {left}"
    for name in names:
        if name.startswith("_checkpoints/"):
            assert not any(asset_id in name for asset_id in rows), f"{name} is of no use any more"
    for name in names:
        if name.startswith("_lease/"):
            lease = json.loads(place.read(name))
            assert lease["released"] or not is_running(lease["pid"]), f"held: {lease}"
    catalogs = [_table(place, name) for name in names if name.startswith("catalog/")]
    listed = [asset_id for table in catalogs for asset_id in table["asset_id"].to_pylist()]
    assert sorted(listed) == sorted(rows), "the catalog lists what is committed"
