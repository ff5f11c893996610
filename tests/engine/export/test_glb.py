import numpy as np
import pytest

from engine.configs.export import ExportConfig, TextureFormat
from engine.export import glb, lattice, mesh, texture, views
from engine.export.asset import View
from engine.export.mesh import Mesh
from engine.export.texture import Texture

from .drawing import agreement, draw, load
from .structure import parse, picture_of
from .subjects import RED, decode, figure

CONFIG = ExportConfig(view_size=64, grid_size=64, max_faces=3000)
METADATA = {"prompt": "a figure, 人形", "seed": "7", "licence": "CC0-1.0"}


@pytest.fixture(scope="module")
def figure_mesh() -> Mesh:
    scene = figure()
    found = mesh.build(scene, lattice.sample(scene, CONFIG.grid_size), CONFIG)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def figure_views() -> list[View]:
    return views.render_views(figure(), CONFIG)


@pytest.fixture(scope="module")
def figure_texture(figure_mesh: Mesh) -> Texture:
    return texture.bake(figure(), figure_mesh, 2.0 / CONFIG.grid_size, 256)


def _to_srgb(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("is_textured", [False, True])
def test_the_glb_seen_by_a_view_s_camera_matches_the_view(
    figure_mesh: Mesh, figure_texture: Texture, figure_views: list[View], is_textured: bool
):
    """Axes, scale, winding, and the texture's place and colours."""
    loaded = load(glb.encode(figure_mesh, METADATA, figure_texture if is_textured else None))
    for view in figure_views:
        drawn = draw(view, loaded)
        found = agreement(view, drawn)
        assert found.iou > 0.96
        assert found.colour_error < 0.03
        # Half of the light is gone a little below the surface.
        assert found.depth_error < 0.01
        num_red = int((np.abs(drawn.colour - np.array(RED)).max(axis=-1) < 0.1).sum())
        assert (num_red > 20) if view.azimuth_deg == 0 else True
        assert (num_red == 0) if view.azimuth_deg == 180 else True


@pytest.mark.parametrize("turn", [[1, 2, 0], [1, 0, 2]])
def test_the_eye_sees_wrong_axes(figure_mesh: Mesh, figure_views: list[View], turn: list[int]):
    """A mesh left in world axes, or mirrored, would fail the test above."""
    loaded = load(glb.encode(figure_mesh, METADATA))
    loaded.vertices = np.asarray(loaded.vertices)[:, turn]
    found = [agreement(view, draw(view, loaded)).iou for view in figure_views]
    assert min(found) < 0.9


def test_axes_are_rotated_not_mirrored():
    x = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    front, left, up = glb.to_gltf(x)
    assert front.tolist() == [0, 0, 1]
    assert left.tolist() == [1, 0, 0]
    assert up.tolist() == [0, 1, 0]
    assert np.linalg.det(glb.to_gltf(x)) == 1.0


def test_structure(figure_mesh: Mesh):
    document, (positions, colours, indices) = parse(glb.encode(figure_mesh, METADATA))
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
    loaded = load(glb.encode(figure_mesh, METADATA))
    assert loaded.is_watertight
    assert loaded.volume > 0


@pytest.mark.parametrize("picture_format", ["png", "webp"])
def test_structure_with_a_texture(
    figure_mesh: Mesh, figure_texture: Texture, picture_format: TextureFormat
):
    data = glb.encode(figure_mesh, METADATA, figure_texture, picture_format)
    document, (positions, uv, indices) = parse(data)
    primitive = document["meshes"][0]["primitives"][0]
    assert primitive["attributes"] == {"POSITION": 0, "TEXCOORD_0": 1}
    np.testing.assert_allclose(uv, figure_texture.uv, atol=1e-6)
    assert (figure_texture.vertex[indices.reshape(-1, 3)] == figure_mesh.faces).all()
    np.testing.assert_allclose(
        positions, glb.to_gltf(figure_mesh.vertices[figure_texture.vertex]), atol=1e-6
    )
    surface = document["materials"][0]["pbrMetallicRoughness"]
    (texture_entry,) = document["textures"]
    if picture_format == "webp":
        assert document["extensionsRequired"] == ["EXT_texture_webp"]
        assert document["extensionsUsed"] == ["KHR_materials_unlit", "EXT_texture_webp"]
        texture_entry = texture_entry["extensions"]["EXT_texture_webp"]
    image = document["images"][texture_entry["source"]]
    assert image["mimeType"] == f"image/{picture_format}"
    picture = decode(picture_of(data))
    off = np.abs(picture.astype(int) - figure_texture.picture)
    assert off.max() == 0 if picture_format == "png" else off.mean() < 6
    assert surface["baseColorTexture"] == {"index": 0}


def test_colours_are_linear_light(figure_mesh: Mesh):
    """A display turns linear .2140 into the sRGB value .5; dark tones keep their 8 bits."""
    assert float(glb.srgb_to_linear(np.array(0.5))) == pytest.approx(0.2140, abs=1e-4)
    tones = np.arange(256) / 255.0
    grey = Mesh(
        vertices=np.zeros((256, 3)),
        faces=np.array([[0, 1, 2]]),
        colours=np.repeat(tones[:, None], 3, axis=1),
        level=1.0,
    )
    _, (_, stored, _) = parse(glb.encode(grey, {}))
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
        document, (_, _, indices) = parse(glb.encode(big, {}))
        assert document["accessors"][2]["componentType"] == kind
        assert indices.ravel().tolist() == [0, 1, num - 1]


def test_bytes_depend_on_content_alone(figure_mesh: Mesh, figure_texture: Texture):
    textured = [glb.encode(figure_mesh, METADATA, figure_texture) for _ in range(2)]
    assert textured[0] == textured[1]
    backwards = dict(reversed(METADATA.items()))
    assert glb.encode(figure_mesh, METADATA) == glb.encode(figure_mesh, backwards)
    assert glb.encode(figure_mesh, METADATA) != glb.encode(figure_mesh, {})
