"""Khronos' validator over GLB files of many shapes. 1,000 at full size: see `validate_glbs`."""

from pathlib import Path
from subprocess import CalledProcessError

import pytest

from engine.configs.export import ExportConfig

from . import validate_glbs
from .structure import parse

CONFIG = ExportConfig(grid_size=96, max_faces=5000, texture_size=256)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not validate_glbs.has_node(), reason="needs node and npm"),
]


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("npm")
    try:
        validate_glbs.install(folder)
    except CalledProcessError:
        pytest.skip("npm could not install gltf-validator")
    return folder


def test_a_hundred_meshes_have_neither_errors_nor_warnings(tool: Path, tmp_path: Path):
    reports = validate_glbs.validate(validate_glbs.made(100, CONFIG, tmp_path), tool)
    found = validate_glbs.summary(reports)
    assert found["files"] == 100
    assert found["faces"][0] > 4900
    assert found["faces"][1] <= 5000
    assert (found["numErrors"], found["numWarnings"], found["said"]) == (0, 0, [])
    for path in sorted(tmp_path.glob("*.glb"))[::10]:
        parse(path.read_bytes())


@pytest.mark.parametrize("changes", [{"texture_size": 0}, {"texture_format": "webp"}])
def test_other_kinds_have_neither(tool: Path, tmp_path: Path, changes: dict):
    config = ExportConfig(**{"grid_size": 48, "max_faces": 1000, "texture_size": 64, **changes})
    found = validate_glbs.summary(
        validate_glbs.validate(validate_glbs.made(3, config, tmp_path), tool)
    )
    assert (found["files"], found["numErrors"], found["numWarnings"]) == (3, 0, 0)


def test_the_validator_sees_a_fault(tool: Path, tmp_path: Path):
    data = validate_glbs.make(0, ExportConfig(grid_size=32, max_faces=500, texture_size=32))
    bad = tmp_path / "bad.glb"
    assert data.count(b'"TEXCOORD_0":1') == 1
    bad.write_bytes(data.replace(b'"TEXCOORD_0":1', b'"TEXCOORD_0":2'))
    found = validate_glbs.summary(validate_glbs.validate([bad], tool))
    assert found["numErrors"] > 0
    assert found["said"]
