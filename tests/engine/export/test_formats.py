import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from engine.configs.export import ExportConfig
from engine.export import export_asset, glb, lattice, mesh, texture
from engine.export.formats import sampled, to_obj, to_ply
from engine.export.glb_reader import read
from engine.export.mesh import Mesh

from .drawing import load
from .subjects import BLUE, GREEN, RED, figure

METADATA = {"prompt": "a figure\nv 1 2 3 人形", "seed": "7"}
CONFIG = ExportConfig(grid_size=64, max_faces=2000)


@pytest.fixture(scope="module")
def made() -> tuple[Mesh, texture.Texture]:
    samples = lattice.sample(figure(), CONFIG.grid_size)
    found = mesh.build(figure(), samples, CONFIG)
    assert found is not None
    return found, texture.bake(figure(), found, samples.spacing, 256)


@pytest.fixture(scope="module", params=["png", "webp", "colours"])
def data(request: pytest.FixtureRequest, made: tuple[Mesh, texture.Texture]) -> bytes:
    found, paint = made
    if request.param == "colours":
        return glb.encode(found, METADATA)
    return glb.encode(found, METADATA, paint, request.param)


def _loaded_obj(files: dict[str, bytes], folder: Path) -> trimesh.Trimesh:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    loaded = trimesh.load(folder / "mesh.obj", process=False)
    assert isinstance(loaded, trimesh.Trimesh)
    return loaded


def _loaded_ply(data: bytes) -> trimesh.Trimesh:
    loaded = trimesh.load(io.BytesIO(data), file_type="ply", process=False)
    assert isinstance(loaded, trimesh.Trimesh)
    return loaded


def test_what_is_read_is_what_was_written(made: tuple[Mesh, texture.Texture], data: bytes):
    found, paint = made
    back = read(data)
    assert back.metadata == METADATA
    if back.colours is not None:
        assert back.uv is None
        assert back.picture is None
        np.testing.assert_allclose(back.positions, glb.to_gltf(found.vertices), atol=1e-6)
        np.testing.assert_allclose(back.colours, found.colours.clip(0, 1), atol=1e-4)
        assert (back.faces == found.faces).all()
    else:
        assert back.uv is not None
        assert back.picture is not None
        expected = glb.to_gltf(found.vertices)[paint.vertex]
        np.testing.assert_allclose(back.positions, expected, atol=1e-6)
        np.testing.assert_allclose(back.uv, paint.uv, atol=1e-6)
        assert (back.faces == paint.faces).all()
        off = np.abs(back.picture.astype(int) - paint.picture)
        assert off.mean() < 3.0


@pytest.mark.parametrize("data", [b"", b"glTF", b"not a GLB file, but as long as one"])
def test_other_bytes_are_refused(data: bytes):
    for convert in (to_obj, to_ply):
        with pytest.raises(ValueError, match=r"^GLB: expected a binary glTF file, got \d+ bytes"):
            convert(data)


def test_obj_is_the_glb_in_its_own_axes(data: bytes, tmp_path: Path):
    files = to_obj(data)
    theirs, ours = load(data), _loaded_obj(files, tmp_path)
    np.testing.assert_allclose(
        np.asarray(ours.vertices)[np.asarray(ours.faces)],
        np.asarray(theirs.vertices)[np.asarray(theirs.faces)],
        atol=1e-5,
    )
    hat = np.asarray(ours.vertices)[:, 1].max()
    assert hat == pytest.approx(0.52, abs=0.02)  # +Y is up
    assert np.asarray(ours.vertices)[:, 2].max() == pytest.approx(0.5, abs=0.02)  # the nose: +Z


def test_obj_shows_the_same_colours(data: bytes, tmp_path: Path):
    files = to_obj(data)
    contents = read(data)
    visual: Any = _loaded_obj(files, tmp_path)
    faces, visual = np.asarray(visual.faces), visual.visual
    if contents.uv is None:
        assert set(files) == {"mesh.obj"}
        colours = np.asarray(visual.vertex_colors)[:, :3] / 255.0
        assert contents.colours is not None
        np.testing.assert_allclose(colours, contents.colours, atol=0.01)
        return
    assert set(files) == {"mesh.obj", "mesh.mtl", "texture.png"}
    assert contents.picture is not None
    # trimesh splits or keeps vertices as it likes: compare corners of faces.
    uv = np.asarray(visual.uv)[faces].reshape(-1, 2)
    flipped = np.stack([uv[:, 0], 1.0 - uv[:, 1]], axis=-1)
    np.testing.assert_allclose(flipped, contents.uv[contents.faces].reshape(-1, 2), atol=1e-5)
    picture = np.asarray(visual.material.image.convert("RGB"))
    assert (picture == contents.picture).all()
    assert Image.open(io.BytesIO(files["texture.png"])).format == "PNG"


def test_ply_is_closed_and_in_the_world_s_axes(made: tuple[Mesh, texture.Texture], data: bytes):
    found, _ = made
    ours = _loaded_ply(to_ply(data))
    assert ours.is_watertight
    assert ours.volume == pytest.approx(
        trimesh.Trimesh(found.vertices, found.faces, process=False).volume, rel=1e-4
    )
    np.testing.assert_allclose(
        np.asarray(ours.vertices)[np.asarray(ours.faces)], found.vertices[found.faces], atol=1e-6
    )


@pytest.mark.parametrize(
    ("side", "colour"), [((0.5, 0, 0.05), RED), ((0, 0.65, 0), GREEN), ((0, 0, 0.52), BLUE)]
)
def test_ply_has_its_colours_on_the_right_sides(
    data: bytes, side: tuple[float, float, float], colour: tuple[float, float, float]
):
    """The red nose is in front at +X, the green arm on +Y, the blue hat on +Z."""
    ours = _loaded_ply(to_ply(data))
    away = np.linalg.norm(np.asarray(ours.vertices) - np.array(side), axis=-1)
    visual: Any = ours.visual
    near = np.asarray(visual.vertex_colors)[away.argsort()[:3], :3] / 255.0
    np.testing.assert_allclose(near.mean(axis=0), colour, atol=0.05)


def test_metadata_stays_one_comment(data: bytes):
    """A prompt with a line break in it must not become a line of the file."""
    for first in (to_obj(data)["mesh.obj"].splitlines()[0], to_ply(data).splitlines()[2]):
        said = json.loads(first.decode().removeprefix("# ").removeprefix("comment "))
        assert said == {"made by": "dreambatch", **METADATA}
    assert b"v 1 2 3" not in to_obj(data)["mesh.obj"].splitlines()


def test_the_same_glb_gives_the_same_bytes(data: bytes):
    assert to_obj(data) == to_obj(data)
    assert to_ply(data) == to_ply(data)


def test_sampling_is_bilinear():
    picture = np.zeros((2, 2, 3), dtype=np.uint8)
    picture[0, 1] = 100
    picture[1, 0] = 200
    uv = np.array([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.5, 0.5], [0.0, 0.0], [1.0, 0.0]])
    found = sampled(picture, uv)[:, 0] * 255.0
    np.testing.assert_allclose(found, [0.0, 100.0, 200.0, 75.0, 0.0, 100.0], atol=1e-9)


def test_an_asset_s_mesh_is_converted():
    config = ExportConfig(
        num_views=4, view_size=16, grid_size=40, turntable_frames=2, texture_size=64
    )
    asset = export_asset(figure(), config, metadata=METADATA)
    assert asset.mesh_glb is not None
    assert _loaded_ply(to_ply(asset.mesh_glb)).is_watertight
    assert set(to_obj(asset.mesh_glb)) == {"mesh.obj", "mesh.mtl", "texture.png"}
