"""Scores are kept once, read by anyone, joined by id, and nothing damaged stops anybody."""

import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.dataset import scores as module
from pipeline.dataset.scores import Metric, Scores, ScoreTable, score_tables
from pipeline.storage.objects import Objects
from pipeline.storage.places import connect
from tests.pipeline.buckets import Bucket, ForgetfulBucket, objects_in
from tests.storage_server import StorageServer


def metric(label: str = "tiny", **changes: Any) -> Metric:
    said: dict[str, Any] = {
        "label": label,
        "kind": "clip",
        "judge": f"clip:{label}",
        "weights_digest": "w" * 64,
        "protocol": {"version": 1, "azimuths_deg": [0.0, 90.0]},
        "captions": ["a", "b"],
    }
    return Metric(**said | changes)


def name(number: int) -> str:
    return f"{number:032x}"


def rows(*numbers: int, label: str = "tiny", plus: float = 0.0) -> pa.Table:
    values = [number / 8 + plus for number in numbers]
    return pa.table(
        {
            "asset_id": [name(number) for number in numbers],
            f"score_{label}_overall": values,
            f"score_{label}_place": pa.array(numbers, pa.int64()),
            "beside": ["x"] * len(numbers),
        }
    )


@pytest.fixture(params=["local", "bucket", "forgetful"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "local":
        return Objects(*connect(str(tmp_path)), url=str(tmp_path))
    return objects_in(Bucket if request.param == "bucket" else ForgetfulBucket)


def test_the_digest_is_what_decides_a_score() -> None:
    first = metric()
    assert len(first.digest) == 32
    same = [metric(label="other", judge="x"), metric(captions=["b", "a"]), metric(created_at="1")]
    assert {other.digest for other in same} == {first.digest}
    others = [
        metric(kind="embedded"),
        metric(weights_digest="v" * 64),
        metric(protocol={"version": 2}),
    ]
    assert len({other.looks_digest for other in [*others, first]}) == 4
    pool = metric(captions=["a", "c"])
    assert pool.digest != first.digest
    assert pool.looks_digest == first.looks_digest


def test_a_metric_is_claimed_once(objects: Objects) -> None:
    scores = Scores(objects)
    first = metric(created_at="2026-01-01T00:00:00+00:00")
    again = metric(label="late", created_at="2027-01-01T00:00:00+00:00")
    assert scores.claim(first) == first
    assert scores.claim(again) == first
    newer = scores.claim(metric(captions=["c"], created_at="2026-06-01T00:00:00+00:00"))
    assert scores.metrics() == [newer, first]


def test_what_is_written_is_read(objects: Objects) -> None:
    scores, ours = Scores(objects), metric()
    scores.claim(ours)
    assert scores.columns(ours) == []
    assert len(scores.scored(ours)) == 0
    scores.write(ours, rows(1, 5))
    scores.write(ours, rows(3))
    assert scores.columns(ours) == ["score_tiny_overall", "score_tiny_place"]
    assert scores.scored(ours).tolist() == [bytes([0] * 15 + [k]) for k in (1, 3, 5)]
    read = pa.concat_tables(scores.read(ours, ["asset_id", "beside"]))
    assert sorted(read["asset_id"].to_pylist()) == [name(1), name(3), name(5)]
    assert read.column_names == ["asset_id", "beside"]


def test_two_evaluators_are_harmless(objects: Objects) -> None:
    """Both score 3, one of them more besides: each asset has one row."""
    ours = metric()
    for numbers in ((1, 3), (3, 4)):
        Scores(objects).write(Scores(objects).claim(ours), rows(*numbers))
    table = ScoreTable.of(Scores(objects), ours)
    joined = table.join(pa.table({"asset_id": [name(k) for k in (4, 2, 3, 1)]}))
    assert joined["score_tiny_overall"].to_pylist() == [0.5, None, 0.375, 0.125]
    assert joined["score_tiny_place"].to_pylist() == [4, None, 3, 1]
    assert joined["score_tiny_place"].type == pa.int64()


def test_labels_are_of_the_metric_that_was_published_last(objects: Objects) -> None:
    scores = Scores(objects)
    first, second = scores.claim(metric()), scores.claim(metric(captions=["c"]))
    other = scores.claim(metric("another", weights_digest="o"))
    for each, plus in ((first, 0.0), (second, 0.5)):
        scores.write(each, rows(1, plus=plus))
    scores.write(other, rows(1, label="another"))
    assert score_tables(objects) == []
    for each in (second, first, other):
        scores.publish(each)
    assert scores.published() == [other, first]
    table = pa.table({"asset_id": [name(1)]})
    for found in score_tables(objects):
        table = found.join(table)
    assert table.to_pylist() == [
        {
            "asset_id": name(1),
            "score_another_overall": 0.125,
            "score_another_place": 1,
            "score_tiny_overall": 0.125,
            "score_tiny_place": 1,
        }
    ]
    assert scores.best_by() is None
    scores.choose_best_by("tiny")
    assert scores.best_by() == "score_tiny_overall"


def test_a_metric_without_rows_joins_nothing(objects: Objects) -> None:
    scores = Scores(objects)
    scores.publish(scores.claim(metric()))
    (table,) = score_tables(objects)
    assert table.join(pa.table({"asset_id": [name(1)]})).column_names == ["asset_id"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "empty"])
def test_damaged_scores_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    scores = Scores(Objects(*connect(str(tmp_path)), url=str(tmp_path)))
    ours = scores.claim(metric())
    scores.write(ours, rows(1))
    (path,) = tmp_path.glob("scores/*/*.parquet")
    data = bytearray(path.read_bytes())
    data[40] ^= 255  # in a page of the first column
    foreign = module.to_parquet_bytes(pa.table({"x": [1]}))
    path.write_bytes(
        {"cut": bytes(data[:20]), "flipped": data, "foreign": foreign, "empty": b""}[damage]
    )
    scores.write(ours, rows(2))
    with caplog.at_level(logging.WARNING, "pipeline.dataset.scores"):
        assert len(scores.scored(ours)) == 1
    assert [r.getMessage().split(" is damaged, delete it")[0] for r in caplog.records] == [
        f"scores are left out: {path}"
    ]
    assert len(ScoreTable.of(scores, ours).ids) == 1


@pytest.mark.parametrize("name", ["scores/_best.json", "scores/_labels/tiny.json"])
def test_a_damaged_pointer_costs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    objects = Objects(*connect(str(tmp_path)), url=str(tmp_path))
    scores = Scores(objects)
    scores.publish(scores.claim(metric()))
    scores.choose_best_by("tiny")
    for text in ("[", "[]", '{"metric": 3, "column": 3}', '{"metric": "gone"}'):
        (tmp_path / name).write_text(text)
        found = (scores.best_by(), scores.published())
        assert None in found or [] in found
    with caplog.at_level(logging.WARNING, "pipeline.dataset.scores"):
        (tmp_path / name).write_text("[")
        assert None in (scores.best_by(), *score_tables(objects), None)
    assert "is damaged or not ours" in caplog.text


def test_a_damaged_metric_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    objects = Objects(*connect(str(tmp_path)), url=str(tmp_path))
    scores, ours = Scores(objects), metric()
    scores.publish(scores.claim(ours))
    (tmp_path / f"scores/{ours.digest}/_metric.json").write_text('{"label": 3}')
    with caplog.at_level(logging.WARNING, "pipeline.dataset.scores"):
        assert (scores.metrics(), scores.published()) == ([], [])
    assert "scores are left out" in caplog.text


def test_scores_on_a_storage_server(server: StorageServer) -> None:
    test_two_evaluators_are_harmless(server.objects("place"))
    assert len(Scores(server.objects("place")).scored(metric())) == 3
