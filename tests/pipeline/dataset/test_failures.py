import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.dataset.failures import Failures, given_up
from pipeline.storage.objects import Objects
from pipeline.storage.places import connect
from tests.pipeline.test_records import FAILURE


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    fs, root = connect(str(tmp_path))
    return Objects(fs, root, url=str(tmp_path))


def attempts(failures: Failures) -> list[str]:
    return sorted(failure.attempt_id for failure in failures.standing())


def test_pardons_add_up_and_leave_what_comes_later(objects: Objects, tmp_path: Path) -> None:
    failures = Failures(objects)
    for name in "abcd":
        failures.write(replace(FAILURE, attempt_id=name))
    failures.pardon(["a"])
    failures.pardon(["b", "never seen"], kind="diverged")
    assert failures.pardoned() == {"a", "b", "never seen"}
    assert attempts(failures) == ["c", "d"]
    assert len(list((tmp_path / "_failures").iterdir())) == 4
    documents = [json.loads(path.read_text()) for path in (tmp_path / "_pardons").iterdir()]
    assert sorted((x["attempt_ids"], x["kind"]) for x in documents) == [
        (["a"], None),
        (["b", "never seen"], "diverged"),
    ]


def test_given_up_is_who_has_a_last_failure() -> None:
    first = replace(FAILURE, asset_id="a" * 32, error_kind="diverged", quarantined=False)
    last = replace(first, error_kind="export", quarantined=True)
    other = replace(first, asset_id="b" * 32)
    assert given_up([last, first, other]) == {"a" * 32: "export"}
    assert given_up([first, last]) == {"a" * 32: "export"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b"[1]",
        b"{}",
        b'{"attempt_ids": 5, "kind": null}',
        b'{"attempt_ids": "abc", "kind": null}',
        b"\xff\x00",
        b"[" * 5000 + b"]" * 5000,
    ],
)
def test_damaged_and_foreign_files_are_skipped_and_said(
    objects: Objects, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    failures = Failures(objects)
    failures.write(replace(FAILURE, attempt_id="a"))
    failures.write(replace(FAILURE, attempt_id="b"))
    failures.pardon(["a"])
    objects.publish("_failures/x.json", data)
    objects.publish("_pardons/x.json", data)
    objects.publish("_pardons/notes.txt", b"not ours")
    assert attempts(failures) == ["b"]
    assert "_failures/x.json is damaged or not ours" in caplog.text
    assert "_pardons/x.json is damaged or not ours" in caplog.text
