from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.dataset import documents
from pipeline.errors import InvalidStore
from pipeline.records import Failure, RunStart, RunSummary
from pipeline.storage.objects import Objects
from pipeline.storage.places import connect
from tests.pipeline.sample_assets import sample_run
from tests.pipeline.test_records import FAILURE, SUMMARY


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    fs, root = connect(str(tmp_path))
    return Objects(fs, root, url=str(tmp_path))


def put(objects: Objects, document: dict[str, object]) -> None:
    documents.write(objects, "x.json", document, create=False)


def test_records_come_back(objects: Objects) -> None:
    assert documents.read_record(objects, "x.json", Failure) is None
    for record in (FAILURE, SUMMARY, sample_run("run-1")):
        put(objects, record.to_dict())
        assert documents.read_record(objects, "x.json", type(record)) == record


def test_what_another_version_adds_is_left_out(objects: Objects) -> None:
    put(objects, {**FAILURE.to_dict(), "mood": "sad"})
    assert documents.read_record(objects, "x.json", Failure) == FAILURE


def test_whole_numbers_are_floats(objects: Objects) -> None:
    put(objects, {**SUMMARY.to_dict(), "gpu_seconds": 3})
    assert documents.read_record(objects, "x.json", RunSummary) == replace(SUMMARY, gpu_seconds=3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"asset_id": 5}, "asset_id is a int"),
        ({"message": None}, "message is a NoneType"),
        ({"quarantined": "yes"}, "quarantined is a str"),
        ({"attempts": 1.5}, "attempts is a float"),
    ],
)
def test_a_field_of_another_type_is_named(
    objects: Objects, changes: dict[str, object], words: str
) -> None:
    put(objects, FAILURE.to_dict() | changes)
    with pytest.raises(InvalidStore, match=f"x.json is damaged or not ours: .*{words}"):
        documents.read_record(objects, "x.json", Failure)


def lines(read: Callable[[], Any]) -> Any:
    """What is read, or the one line that says why it cannot be."""
    try:
        return read()
    except InvalidStore as error:
        (line,) = str(error).splitlines()
        return line


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    changes=st.dictionaries(st.sampled_from(sorted(sample_run("x").to_dict())), _JSON, min_size=1)
)
def test_any_document_is_a_record_or_a_mistake(
    objects: Objects, changes: dict[str, object]
) -> None:
    document = sample_run("x").to_dict() | changes
    put(objects, document)
    found = lines(lambda: documents.read_record(objects, "x.json", RunStart))
    assert isinstance(found, str) or found.to_dict() == document


@given(data=st.binary(max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_are_a_document_or_a_mistake(objects: Objects, data: bytes) -> None:
    objects.publish("x.json", data)
    assert isinstance(lines(lambda: documents.read(objects, "x.json")), dict | str)
