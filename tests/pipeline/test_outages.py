"""What the commands say when the storage does not answer: one line, and code 1."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import main
from pipeline.store import Store
from tests.pipeline.buckets import make_impatient
from tests.pipeline.runs import write_hollow_weights, write_manifest
from tests.pipeline.sample_assets import open_store, sample_bytes, sample_run, sample_task
from tests.storage_server import StorageServer

COMMANDS = ["status", "status --json", "retry", "compact", "gc"]


@pytest.fixture
def server(server: StorageServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[StorageServer]:
    """A server with an output of one asset and one run."""
    make_impatient(server, monkeypatch)
    store = open_store(server.url("out"))
    store.start_run(sample_run())
    store.commit(sample_task(0).asset_id, sample_bytes(sample_task(0)))
    yield server
    server.heal()


def break_after(name: str, server: StorageServer, patch: pytest.MonkeyPatch) -> None:
    """From the end of the first call of a method of Store on, no request succeeds."""
    plain: Callable[..., Any] = getattr(Store, name)

    def call(*arguments: Any, **options: Any) -> Any:
        result = plain(*arguments, **options)
        server.fail_next(1000)
        return result

    patch.setattr(Store, name, call)


def said_in_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 1
    said = capsys.readouterr().err
    assert re.fullmatch(r"dreambatch: error: [^\n]*(503|Service Unavailable)[^\n]*\n", said), said
    return said


def run_words(server: StorageServer, directory: Path) -> list[str]:
    return [
        *(
            "run",
            "--manifest",
            str(write_manifest(directory / "m.parquet", ["a ball"], collection=["x"])),
        ),
        *("--output", server.url("out"), "--recipe", "smoke", "--metrics-port", "0"),
        *("--guidance", str(write_hollow_weights(directory / "weights"))),
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_an_outage_at_work(
    server: StorageServer,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    break_after("open", server, monkeypatch)
    said = said_in_one_line([*command.split(), "--output", server.url("out")], capsys)
    assert re.search(rf"cannot use (a file in )?{server.url('out')}: ", said)
    assert 0 < server.num_pending < 1000


def test_an_outage_from_the_beginning(
    server: StorageServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.fail_next(1000)
    said = said_in_one_line(["status", "--output", server.url("out")], capsys)
    assert f"cannot read {server.url('out')}: " in said


@pytest.mark.parametrize("step", ["open", "carried_schema", "committed", "failures"])
def test_an_outage_while_a_run_is_planned(
    server: StorageServer,
    step: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    break_after(step, server, monkeypatch)
    said = said_in_one_line(run_words(server, tmp_path), capsys)
    assert server.url("out") in said
    assert 0 < server.num_pending < 1000
