import io
import json
import struct

import numpy as np
import pytest
import trimesh

from engine.configs.export import ExportConfig
from engine.export import glb, lattice, mesh, views
from engine.export.asset import View
from engine.export.mesh import Mesh

from .subjects import RED, decode, figure, project

CONFIG = ExportConfig(view_size=64, grid_size=64, max_faces=3000)
METADATA = {"prompt": "a figure, 人形", "seed": "7", "licence": "CC0-1.0"}
COMPONENTS = {5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}


@pytest.fixture(scope="module")
def figure_mesh() -> Mesh:
    scene = figure()
    found = mesh.build(scene, lattice.sample(scene, CONFIG.grid_size), CONFIG)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def figure_views() -> list[View]:
    return views.render_views(figure(), CONFIG)


def _parse(data: bytes) -> tuple[dict, list[np.ndarray]]:
    """JSON document and the accessors' arrays of a GLB, checking all lengths on the way."""
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    json_length, json_kind = struct.unpack_from("<I4s", data, 12)
    assert json_kind == b"JSON"
    document = json.loads(data[20 : 20 + json_length])
    binary_length, binary_kind = struct.unpack_from("<I4s", data, 20 + json_length)
    assert binary_kind == b"BIN\0"
    start = 28 + json_length
    assert start + binary_length == len(data)
    assert json_length % 4 == binary_length % 4 == 0
    assert 0 <= binary_length - document["buffers"][0]["byteLength"] < 4
    arrays = []
    for accessor in document["accessors"]:
        view = document["bufferViews"][accessor["bufferView"]]
        kind, width = COMPONENTS[accessor["componentType"]], WIDTHS[accessor["type"]]
        assert view["byteOffset"] % 4 == 0
        assert view["byteLength"] == accessor["count"] * width * np.dtype(kind).itemsize
        assert view["byteOffset"] + view["byteLength"] <= document["buffers"][0]["byteLength"]
        offset = start + view["byteOffset"]
        values = np.frombuffer(data, kind, accessor["count"] * width, offset)
        arrays.append(values.reshape(-1, width))
    return document, arrays


def _to_srgb(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _load(data: bytes) -> trimesh.Trimesh:
    scene = trimesh.load(io.BytesIO(data), file_type="glb", process=False)
    assert isinstance(scene, trimesh.Scene)
    loaded = scene.to_geometry()
    assert isinstance(loaded, trimesh.Trimesh)
    return loaded


def _draw(view: View, vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """RGBA picture of a triangle mesh by the plainest z-buffer; NaN colours mark the background."""
    column, row, z = project(view, vertices)
    picture = np.full((view.h, view.w, 3), np.nan)
    nearest = np.full((view.h, view.w), np.inf)
    for face in faces:
        x, y = column[face], row[face]
        x0, x1 = int(np.floor(x.min())), int(np.ceil(x.max()))
        y0, y1 = int(np.floor(y.min())), int(np.ceil(y.max()))
        v, u = np.mgrid[y0 : y1 + 1, x0 : x1 + 1] + 0.5
        area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
        if area >= 0:
            continue  # seen from behind: counter-clockwise is clockwise where rows count down
        b = ((u - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (v - y[0])) / area
        c = ((x[1] - x[0]) * (v - y[0]) - (u - x[0]) * (y[1] - y[0])) / area
        share = np.stack([1 - b - c, b, c], axis=-1)
        depth = share @ z[face]
        for i, j in zip(*np.nonzero(share.min(axis=-1) >= 0), strict=True):
            if depth[i, j] < nearest[y0 + i, x0 + j]:
                nearest[y0 + i, x0 + j] = depth[i, j]
                picture[y0 + i, x0 + j] = share[i, j] @ colours[face]
    return picture


def test_the_glb_seen_by_a_view_s_camera_matches_the_view(
    figure_mesh: Mesh, figure_views: list[View]
):
    data = glb.encode(figure_mesh, METADATA)
    loaded = _load(data)
    _, (_, stored, _) = _parse(data)
    colours = _to_srgb(stored[:, :3] / 65535.0)
    gltf = np.asarray(loaded.vertices)
    world = np.stack([gltf[:, 2], gltf[:, 0], gltf[:, 1]], axis=-1)
    for view in figure_views:
        drawn = _draw(view, world, np.asarray(loaded.faces), colours)
        covers = ~np.isnan(drawn[..., 0])
        image = decode(view.image)
        seen = image[..., 3] >= 128
        assert (covers & seen).sum() / (covers | seen).sum() > 0.95
        off = np.abs(drawn - image[..., :3] / 255.0)[covers & (image[..., 3] == 255)]
        assert np.quantile(off.max(axis=-1), 0.8) < 0.05
        num_red = int((np.abs(drawn - np.array(RED)).max(axis=-1)[covers] < 0.1).sum())
        assert (num_red > 20) if view.azimuth_deg == 0 else True
        assert (num_red == 0) if view.azimuth_deg == 180 else True


def test_axes_are_rotated_not_mirrored():
    x = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    front, left, up = glb.to_gltf(x)
    assert front.tolist() == [0, 0, 1]
    assert left.tolist() == [1, 0, 0]
    assert up.tolist() == [0, 1, 0]
    assert np.linalg.det(glb.to_gltf(x)) == 1.0


def test_structure(figure_mesh: Mesh):
    document, (positions, colours, indices) = _parse(glb.encode(figure_mesh, METADATA))
    assert document["asset"]["version"] == "2.0"
    assert document["asset"]["extras"] == METADATA
    assert document["extensionsUsed"] == ["KHR_materials_unlit"]
    primitive = document["meshes"][0]["primitives"][0]
    assert primitive["attributes"] == {"POSITION": 0, "COLOR_0": 1}
    assert document["materials"][primitive["material"]]["extensions"] == {"KHR_materials_unlit": {}}
    assert document["accessors"][0]["min"] == positions.min(axis=0).tolist()
    assert document["accessors"][0]["max"] == positions.max(axis=0).tolist()
    assert document["accessors"][1]["normalized"] is True
    assert (colours[:, 3] == 65535).all()
    assert (indices.reshape(-1, 3) == figure_mesh.faces).all()
    np.testing.assert_allclose(positions, glb.to_gltf(figure_mesh.vertices), atol=1e-6)


def test_trimesh_reads_it_as_a_closed_mesh(figure_mesh: Mesh):
    loaded = _load(glb.encode(figure_mesh, METADATA))
    assert loaded.is_watertight
    assert loaded.volume > 0


def test_colours_are_linear_light(figure_mesh: Mesh):
    """A display turns linear .2140 into the sRGB value .5; dark tones keep their 8 bits."""
    assert float(glb.srgb_to_linear(np.array(0.5))) == pytest.approx(0.2140, abs=1e-4)
    tones = np.arange(256) / 255.0
    grey = Mesh(
        vertices=np.zeros((256, 3)),
        faces=np.zeros((1, 3), dtype=np.int64),
        colours=np.repeat(tones[:, None], 3, axis=1),
        level=1.0,
    )
    _, (_, stored, _) = _parse(glb.encode(grey, {}))
    shown = _to_srgb(stored[:, 0] / 65535.0) * 255.0
    np.testing.assert_array_equal(np.rint(shown), np.arange(256))


def test_large_meshes_have_wide_indices():
    for num, kind in ((65535, 5123), (65536, 5125)):
        big = Mesh(
            vertices=np.random.default_rng(0).random((num, 3)),
            faces=np.array([[0, 1, num - 1]]),
            colours=np.zeros((num, 3)),
            level=1.0,
        )
        document, (_, _, indices) = _parse(glb.encode(big, {}))
        assert document["accessors"][2]["componentType"] == kind
        assert indices.ravel().tolist() == [0, 1, num - 1]


def test_bytes_depend_on_content_alone(figure_mesh: Mesh):
    backwards = dict(reversed(METADATA.items()))
    assert glb.encode(figure_mesh, METADATA) == glb.encode(figure_mesh, backwards)
    assert glb.encode(figure_mesh, METADATA) != glb.encode(figure_mesh, {})
