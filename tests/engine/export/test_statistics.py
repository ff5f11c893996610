import math

import numpy as np
import pytest
import trimesh

from engine.export import statistics
from engine.export.asset import MESH_STATISTICS
from engine.export.mesh import Mesh


def _mesh(shape: trimesh.Trimesh) -> Mesh:
    vertices = np.asarray(shape.vertices)
    return Mesh(
        vertices=vertices, faces=np.asarray(shape.faces), colours=np.zeros_like(vertices), level=7.0
    )


def _shapes() -> dict[str, trimesh.Trimesh]:
    torus = trimesh.creation.torus(0.6, 0.2)
    box = trimesh.creation.box((1.0, 2.0, 3.0))
    open_box = trimesh.Trimesh(box.vertices, box.faces[1:], process=False)
    flipped = trimesh.Trimesh(box.vertices, np.vstack([box.faces[:1, ::-1], box.faces[1:]]))
    far = trimesh.creation.icosphere(2, 0.5).apply_translation((3.0, 0.0, 0.0))
    both = trimesh.util.concatenate([torus, far])
    assert isinstance(both, trimesh.Trimesh)
    return {"torus": torus, "box": box, "open": open_box, "flipped": flipped, "both": both}


@pytest.mark.parametrize("name", list(_shapes()))
def test_statistics_agree_with_trimesh(name: str):
    shape = _shapes()[name]
    found = statistics.statistics(_mesh(shape))
    assert list(found) == list(MESH_STATISTICS)
    assert all(type(found[key]) is kind for key, kind in MESH_STATISTICS.items())
    assert found["mesh_vertices"] == len(shape.vertices)
    assert found["mesh_faces"] == len(shape.faces)
    assert found["mesh_components"] == shape.body_count
    assert found["mesh_watertight"] is (shape.is_watertight and shape.is_winding_consistent)
    if shape.is_volume:
        assert found["mesh_volume"] == pytest.approx(shape.volume)
    assert found["mesh_area"] == pytest.approx(shape.area)
    assert found["mesh_level"] == 7.0
    box = [found[f"bbox_{end}_{axis}"] for end in ("min", "max") for axis in "xyz"]
    np.testing.assert_allclose(box, shape.bounds.ravel())


def test_the_shapes_are_closed_and_not():
    closed = {name: statistics.is_watertight(np.asarray(s.faces)) for name, s in _shapes().items()}
    assert closed == {"torus": True, "box": True, "open": False, "flipped": False, "both": True}


def test_an_empty_mesh_has_all_names_with_zeros_and_nan():
    found = statistics.statistics(None)
    assert list(found) == list(MESH_STATISTICS)
    assert all(type(found[key]) is kind for key, kind in MESH_STATISTICS.items())
    assert found["mesh_faces"] == 0
    assert found["mesh_watertight"] is False
    assert found["mesh_volume"] == found["mesh_area"] == 0.0
    assert math.isnan(float(found["bbox_min_x"]))
    assert math.isnan(float(found["mesh_level"]))
