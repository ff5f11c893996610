import json
import struct
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.export import export_asset
from engine.recipes import get
from pipeline.dataset import licences
from pipeline.dataset.asset_names import asset_name
from tests.engine.export.subjects import ball
from tests.pipeline.packed import fill
from tests.pipeline.sample_assets import open_store, sample_task


def glb(document: object) -> bytes:
    """The JSON chunk of a GLB, and no other."""
    text = json.dumps(document).encode()
    return struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text), len(text), b"JSON") + text


@pytest.mark.parametrize(
    ("guidance", "mesh_glb", "expected"),
    [
        ("primitives", None, "apache-2.0"),
        ("primitives", glb({"asset": {"extras": {"licence": "mit"}}}), "apache-2.0"),
        ("org/model", glb({"asset": {"extras": {"licence": "mit"}}}), "mit"),
        ("org/model", glb({"asset": {"extras": {"licence": 3}}}), "unknown"),
        ("org/model", glb({"asset": {"extras": {}}}), "unknown"),
        ("org/model", glb({"asset": {}}), "unknown"),
        ("org/model", glb([]), "unknown"),
        ("org/model", None, "unknown"),
    ],
)
def test_the_mesh_says_the_licence(guidance: str, mesh_glb: bytes | None, expected: str) -> None:
    assert licences.of_asset(guidance, mesh_glb) == expected


@given(data=st.binary(max_size=60))
def test_any_bytes_say_nothing(data: bytes) -> None:
    assert licences.of_asset("org/model", data) == "unknown"


def test_a_true_glb_is_read() -> None:
    said = {"licence": "openrail", "prompt": "a ball"}
    asset = export_asset(ball(), get("smoke").export, metadata=said)
    assert licences.of_asset("org/model", asset.mesh_glb) == "openrail"


def test_one_asset_of_each_model_is_asked(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "out"))
    ids = sorted(fill(store, range(4)))
    rows = {
        "asset_id": ids,
        "guidance": ["primitives", "org/empty", "org/model", "org/model"],
        "mesh_status": ["ok", "empty", "ok", "ok"],
    }
    pd.DataFrame(rows).to_parquet(tmp_path / "catalog.parquet")
    (tmp_path / "out" / asset_name(ids[2])).unlink()
    assert licences.of_models(store, tmp_path / "catalog.parquet") == {
        "primitives": "apache-2.0",
        "org/empty": "unknown",
        "org/model": "unknown",
    }
    assert sample_task(0).asset_id in ids


@pytest.mark.parametrize(
    ("names", "expected"), [(["mit"], "mit"), (["mit", "mit"], "mit"), (["mit", "x"], "other")]
)
def test_different_licences_are_others(names: list[str], expected: str) -> None:
    assert licences.of_all(names) == expected
