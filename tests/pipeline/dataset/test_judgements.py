import json
from pathlib import Path

import pandas as pd
import pytest

from pipeline.dataset import catalog, judgements
from pipeline.export import export
from pipeline.store import Store
from tests.pipeline.packed import fill
from tests.pipeline.sample_assets import open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Four assets; the catalog knows three, two of them with a score."""
    store = open_store(str(tmp_path / "out"))
    ids = sorted(fill(store, range(4)))
    catalog.write(store)
    path = tmp_path / "out" / catalog.NAME
    frame = pd.read_parquet(path).set_index("asset_id").drop(ids[1])
    frame["score_clip_overall"] = pd.Series({ids[0]: 0.25, ids[3]: 0.5})
    frame["is_best"] = [True, False, False]
    frame.sort_index(ascending=False).reset_index().to_parquet(path)
    return store


def test_scores_are_found_by_id(store: Store) -> None:
    found = judgements.read(store)
    assert [found.of(x) for x in sorted(store.committed())] == [
        {"score_clip_overall": 0.25, "is_best": True},
        {},
        {"is_best": False},
        {"score_clip_overall": 0.5, "is_best": False},
    ]
    assert found.of("0" * 32) == found.of("f" * 32) == {}


def test_scores_go_into_the_metadata(store: Store, tmp_path: Path) -> None:
    request = export.Request(directory=str(tmp_path / "to"), is_all=True)
    export.export(store.url, request, say=print)
    statistics = [
        json.loads((tmp_path / "to" / x / "metadata.json").read_text())["statistics"]
        for x in sorted(store.committed())
    ]
    assert [x.get("score_clip_overall") for x in statistics] == [0.25, None, None, 0.5]
    assert [x.get("is_best") for x in statistics] == [True, None, False, False]


@pytest.mark.parametrize("damage", ["absent", "torn", "without scores"])
def test_without_scores_there_are_none(
    store: Store, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "out" / catalog.NAME
    if damage == "absent":
        path.unlink()
    if damage == "torn":
        path.write_bytes(path.read_bytes()[:-50])
    if damage == "without scores":
        pd.read_parquet(path)[["asset_id", "prompt"]].to_parquet(path)
    found = judgements.read(store)
    assert not any(found.of(x) for x in store.committed())
    assert bool(caplog.records) == (damage == "torn")
