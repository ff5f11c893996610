"""The files of one asset, against the conventions of the programs that read them."""

import io
import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engine.export.asset import Asset
from pipeline.dataset.asset_table import asset_table
from pipeline.export import asset_files
from pipeline.export.asset_files import DamagedAsset, Names
from tests.pipeline.sample_assets import (
    CARRIED,
    sample_asset,
    sample_provenance,
    sample_task,
    sample_view,
)

ASSET = sample_asset()


def row(asset: Asset = ASSET, **changes: Any) -> dict[str, Any]:
    """A row of the dataset."""
    task = sample_task(prompt="a ball <b>of</b>\nwool")
    table = asset_table(task, asset, sample_provenance(), CARRIED)
    return table.to_pylist()[0] | changes


def made(asset: dict[str, Any]) -> dict[str, bytes]:
    found = list(asset_files.files(asset, Names()))
    assert len(dict(found)) == len(found)
    return dict(found)


def picture(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_these_are_the_files_of_an_asset() -> None:
    numbers = [f"{k:03d}.png" for k in range(8)]
    pictures = {
        f"{kind}/{number}" for kind in ("images", "depth", "normals", "masks") for number in numbers
    }
    rest = {"transforms.json", "metadata.json", "mesh.glb", "turntable.webp", "thumb.png"}
    found = made(row())
    assert found.keys() == pictures | rest
    assert found["images/002.png"] == ASSET.views[2].image
    assert found["normals/002.png"] == ASSET.views[2].normal
    assert found["mesh.glb"] == ASSET.mesh_glb
    assert made(row(sample_asset(is_empty=True))).keys() == found.keys() - {"mesh.glb"}


def test_frames_name_files_and_cameras() -> None:
    found = made(row())
    document = json.loads(found["transforms.json"])
    assert {key: document[key] for key in ("fl_x", "fl_y", "cx", "cy", "w", "h")} == {
        **dict.fromkeys(("fl_x", "fl_y"), 20.0),
        **dict.fromkeys(("cx", "cy"), 8.0),
        **dict.fromkeys(("w", "h"), 16),
    }
    assert document["camera_angle_x"] == pytest.approx(2 * math.atan(8 / 20))
    assert len(document["frames"]) == 8
    for k, frame in enumerate(document["frames"]):
        assert frame["name"] == ASSET.views[k].name
        assert frame["file_path"] == f"images/{k:03d}.png"
        assert frame["depth_file_path"] == frame["depth_path"] == f"depth/{k:03d}.png"
        assert frame["transform_matrix"] == np.arange(16.0).reshape(4, 4).tolist()
        assert {frame[key] in found for key in frame if key.endswith("_path")} == {True}
        assert "mask_path" not in frame


def test_intrinsics_that_differ_stand_in_their_frames() -> None:
    views = [sample_view(0), sample_view(90, size=32), replace(sample_view(180), fl_x=30.0)]
    document = json.loads(made(row(replace(ASSET, views=views)))["transforms.json"])
    assert not {"fl_x", "w", "h", "cx", "cy", "camera_angle_x"} & document.keys()
    assert document["fl_y"] == 20.0
    assert [frame["w"] for frame in document["frames"]] == [16, 32, 16]
    assert [frame["fl_x"] for frame in document["frames"]] == [20.0, 20.0, 30.0]


@pytest.mark.parametrize("far", [0.2, 1.0, 1.7])
def test_the_box_holds_the_mesh(far: float) -> None:
    document = json.loads(made(row(bbox_min_y=-far))["transforms.json"])
    half = max(1.0, far)
    assert document["aabb"] == [[-half] * 3, [half] * 3]
    assert document["aabb_scale"] == 1
    empty = json.loads(made(row(sample_asset(is_empty=True)))["transforms.json"])
    assert empty["aabb"] == [[-1.0] * 3, [1.0] * 3]


@given(
    depth=st.lists(st.integers(0, 65535), min_size=4, max_size=4),
    scale=st.sampled_from([1e-5, 1e-4, 1e-3, 7e-4, 1e-2]),
)
def test_depth_is_what_it_was_within_half_a_step(depth: list[int], scale: float) -> None:
    values = np.array(depth, np.uint16).reshape(2, 2)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    view = replace(sample_view(0), depth=buffer.getvalue(), depth_scale=scale)
    found = made(row(replace(ASSET, views=[view, replace(sample_view(90), depth_scale=1e-5)])))
    step = json.loads(found["transforms.json"])["integer_depth_scale"]
    assert step == max(1e-3, scale)
    written = picture(found["depth/000.png"])
    assert written.dtype == np.uint16
    assert ((written == 0) == (values == 0)).all()
    wrong = np.abs(written * step - values * scale)
    assert (wrong[values * scale > step] <= 0.5001 * step).all()
    assert (wrong <= step).all()


def test_depth_in_the_step_itself_is_not_touched() -> None:
    assert made(row())["depth/005.png"] == ASSET.views[5].depth


def test_masks_are_white_where_the_picture_is_opaque() -> None:
    alpha = np.array([[0, 127], [128, 255]], np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.dstack([alpha] * 4)).save(buffer, "PNG")
    view = replace(sample_view(0), image=buffer.getvalue())
    found = made(row(replace(ASSET, views=[view])))
    assert picture(found["masks/000.png"]).tolist() == [[0, 0], [255, 255]]


def test_the_metadata_are_request_provenance_statistics_and_licence() -> None:
    document = json.loads(made(row())["metadata.json"])
    assert document["asset_id"] == row()["asset_id"]
    assert document["licence"] == "apache-2.0"
    assert document["request"] == {
        "prompt_id": "row-0",
        "prompt": "a ball <b>of</b>\nwool",
        "negative_prompt": "",
        "seed": 0,
    }
    assert document["columns"] == {"collection": "demo"}
    assert document["provenance"]["seed_used"] == 7
    assert document["provenance"]["created_at"] == "2026-11-23T12:00:00+00:00"
    assert document["statistics"]["mesh_status"] == "ok"
    assert document["statistics"]["loss_sds"] == 0.25
    flat = [key for part in document.values() if isinstance(part, dict) for key in part]
    blobs = {"views", "thumb", "mesh_glb", "turntable", "field"}
    assert sorted([*flat, "asset_id"]) == sorted(row().keys() - blobs)
    unknown = json.loads(made(row(guidance="org/model"))["metadata.json"])
    assert unknown["licence"] == "unknown"


def test_carried_columns_of_any_type_become_json() -> None:
    carried = {
        "when": datetime(2026, 1, 2, tzinfo=UTC),
        "blob": b"\x00\xff",
        "nothing": None,
        "nan": math.nan,
        "list": [{"x": math.inf}],
        "price": pa.scalar("1.50").cast(pa.decimal128(5, 2)).as_py(),
    }
    document = json.loads(made(row(**carried))["metadata.json"])["columns"]
    assert document == {
        "collection": "demo",
        "when": "2026-01-02T00:00:00+00:00",
        "blob": "AP8=",
        "nothing": None,
        "nan": None,
        "list": [{"x": None}],
        "price": "1.50",
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"views": None},
        {"views": []},
        {"views": [None]},
        {"turntable": None},
        {"views": [row()["views"][0] | {"c2w": [1.0] * 15}]},
        {"views": [row()["views"][0] | {"depth": {"bytes": b"none", "path": ""}}]},
        {
            "views": [
                row()["views"][0] | {"image": {"bytes": ASSET.views[0].image[:60], "path": ""}}
            ]
        },
        {"views": [row()["views"][0] | {"normal": {"bytes": b"none", "path": ""}}]},
        {"views": [row()["views"][0] | {"fl_x": None}]},
        {"views": [row()["views"][0] | {"fl_x": 0.0}]},
        {"views": [row()["views"][0] | {"depth_scale": None}]},
    ],
)
def test_what_is_no_asset_is_said_in_one_line(changes: dict[str, Any]) -> None:
    with pytest.raises(DamagedAsset, match=r"^[^\n]+$"):
        made(row(**changes))
