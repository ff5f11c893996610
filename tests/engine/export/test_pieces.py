import pytest
import torch

from engine.configs.export import ExportConfig
from engine.export import export_asset, march, pieces, subject, texture
from tests.engine.export.subjects import Solids, ball


def test_a_gpu_has_larger_ones() -> None:
    assert pieces.size(10, torch.device("cpu")) == 10
    assert pieces.size(10, torch.device("cuda")) == 40


def test_an_asset_s_bytes_do_not_depend_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ExportConfig(num_views=4, view_size=24, grid_size=24, texture_size=64)
    asked: list[int] = []
    honest = Solids.density

    def counted(scene: Solids, x: torch.Tensor) -> torch.Tensor:
        asked.append(len(x))
        return honest(scene, x)

    monkeypatch.setattr(Solids, "density", counted)
    whole = export_asset(ball(), config, metadata={})
    num_whole, asked[:] = len(asked), []
    for module, name, size in (
        (march, "_SAMPLES_AT_ONCE", 3_000),
        (subject, "POINTS_AT_ONCE", 500),
        (texture, "_TEXELS_AT_ONCE", 700),
    ):
        assert getattr(module, name) > size
        monkeypatch.setattr(module, name, size)
    pieced = export_asset(ball(), config, metadata={})
    assert len(asked) > 3 * num_whole
    assert max(asked) <= 500
    assert pieced == whole
