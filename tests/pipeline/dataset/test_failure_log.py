"""Records are written in order by somebody else, and none is lost without a word."""

import threading
from collections.abc import Iterator

import pytest

from pipeline.dataset import failure_log
from pipeline.dataset.failure_log import FailureLog
from pipeline.records import Failure


def failure(number: int) -> Failure:
    return Failure(
        asset_id=f"{number:032x}",
        attempt_id=f"{number:032x}",
        prompt_id=str(number),
        prompt="a ball",
        error_kind="diverged",
        message="m",
        attempts=1,
        quarantined=False,
    )


class Storage:
    """Takes a record when the test lets it."""

    def __init__(self) -> None:
        self.taken: list[Failure] = []
        self.asked = threading.Semaphore(0)
        self.gate = threading.Event()

    def write(self, record: Failure) -> None:
        self.asked.release()
        assert self.gate.wait(10.0)
        self.taken.append(record)


@pytest.fixture
def storage() -> Iterator[Storage]:
    storage = Storage()
    yield storage
    storage.gate.set()


def test_nobody_waits_for_a_record_and_all_are_written_in_order(storage: Storage) -> None:
    log, records = FailureLog(storage.write), [failure(k) for k in range(20)]
    for record in records:
        log.keep(record)
    assert storage.taken == []
    storage.gate.set()
    log.close(10.0)
    assert (storage.taken, log.refusals()) == (records, [])


def test_what_storage_refuses_is_told_once_and_the_next_is_written() -> None:
    taken: list[Failure] = []

    def write(record: Failure) -> None:
        if record == failure(0):
            raise OSError(28, "No space left on device")
        taken.append(record)

    log = FailureLog(write)
    log.keep(failure(0))
    log.keep(failure(1))
    log.close(10.0)
    assert taken == [failure(1)]
    assert log.refusals() == ["No space left on device"]
    assert log.refusals() == []


def test_records_do_not_pile_up(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure_log, "MOST_WAITING", 2)
    log = FailureLog(storage.write)
    log.keep(failure(0))
    assert storage.asked.acquire(timeout=10.0)
    for number in (1, 2, 3):
        log.keep(failure(number))
    assert log.refusals() == ["2 others wait for the storage"]
    storage.gate.set()
    log.close(10.0)
    assert storage.taken == [failure(k) for k in range(3)]


def test_the_end_of_a_run_does_not_wait_for_ever(storage: Storage) -> None:
    log = FailureLog(storage.write)
    for number in range(3):
        log.keep(failure(number))
    assert storage.asked.acquire(timeout=10.0)
    log.close(0.01)
    assert log.refusals() == ["the storage took none for 0 s"] * 3
