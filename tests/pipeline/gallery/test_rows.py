from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.errors import InvalidStore
from pipeline.gallery import rows
from pipeline.gallery.rows import Rows
from pipeline.storage.objects import Objects
from pipeline.storage.places import connect
from pipeline.store import Store
from tests.pipeline.gallery.samples import commit, filled
from tests.pipeline.sample_assets import open_store


def numbered(count: int) -> Rows:
    """Rows whose ids are their numbers, in reverse."""
    table = pa.table({"asset_id": [f"{k:05d}" for k in range(count)]})
    return Rows(table=table, order=np.arange(count)[::-1])


def ids(some: Rows) -> list[str]:
    return some.column("asset_id").to_pylist()


def test_the_newest_come_first_and_equals_by_id(tmp_path: Path) -> None:
    store = filled(tmp_path, 5)
    twin = commit(store, 64)  # made in the same second as number 4
    with rows.newest_first(store) as found:
        names = found.column("prompt_id").to_pylist()
        assert names[2:] == ["row-3", "row-2", "row-1", "row-0"]
        assert sorted(names[:2]) == ["row-4", "row-64"]
        assert ids(found)[:2] == sorted(ids(found)[:2])
        assert twin in ids(found)[:2]
        assert len(found) == 6


def test_columns_of_one_recipe_are_null_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.dataset import catalog

    store = filled(tmp_path, 2)
    tables = list(catalog.rows(store))
    scored = tables[0].append_column("score_clip", pa.array([0.25] * len(tables[0])))
    monkeypatch.setattr(catalog, "rows", lambda _: iter([scored, *tables[1:]]))
    with rows.newest_first(store) as found:
        assert sorted(map(str, found.column("score_clip").to_pylist())) == ["0.25", "None"]


def test_an_empty_dataset_has_its_columns(tmp_path: Path) -> None:
    with rows.newest_first(open_store(str(tmp_path))) as found:
        assert len(found) == 0
        assert {"asset_id", "prompt", "collection", "mesh_faces"} <= set(found.table.column_names)
        assert [len(chunk) for chunk in found.chunks()] == [0]


def test_a_place_where_no_run_began_is_said_to_be_that(tmp_path: Path) -> None:
    fs, root = connect(str(tmp_path))
    nothing = Store(Objects(fs, root, url=str(tmp_path)))
    with pytest.raises(InvalidStore, match="no run has begun there"), rows.newest_first(nothing):
        pass


@pytest.mark.parametrize("count", [0, 1, 200, 201, 2199, 2200, 2201, 4200, 4201])
def test_chunks_hold_every_row_once_in_order(count: int) -> None:
    chunks = [chunk["asset_id"].to_pylist() for chunk in numbered(count).chunks()]
    assert [name for chunk in chunks for name in chunk] == ids(numbered(count))
    assert len(chunks[0]) == min(count, 200)
    assert all(0 < len(chunk) <= 2000 for chunk in chunks[1:])
    assert all(len(chunk) == 2000 for chunk in chunks[1:-1])


def test_rows_can_be_left_out_and_limited() -> None:
    some = numbered(6)
    assert ids(some.without({"00004", "00000"})) == ["00005", "00003", "00002", "00001"]
    assert some.without(set()) is some
    assert ids(some.newest(2)) == ["00005", "00004"]
    assert ids(some.newest(None)) == ids(some)
    assert some.having({"00001", "00009"}) == {"00001"}
    assert some.having(set()) == set()
