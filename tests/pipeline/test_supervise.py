"""The supervisor over small processes that end as told; and its place in the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import exit_codes, supervise
from pipeline.cli import main
from pipeline.errors import UserError
from pipeline.supervise import Census, Watch, pause_seconds
from tests.clusters import ROOT, driver_environment, is_running
from tests.pipeline.sample_assets import open_store, sample_bytes, sample_run, sample_task

ENDS = """
import os, signal, sys
state, ends = sys.argv[1], sys.argv[2:]
with open(state, "a") as stream:
    stream.write("x")
end = int(ends[os.path.getsize(state) - 1])
if end < 0:
    os.kill(os.getpid(), -end)
sys.exit(end)
"""
"""Ends the k-th time as its k-th word says: with a code, or by a signal if that is below zero."""

WAITS = """
import signal, sys, time
def leave(signum, frame):
    time.sleep(float(sys.argv[2]))
    sys.exit(128 + signum)
for signum in (signal.SIGTERM, signal.SIGINT):
    signal.signal(signum, leave)
open(sys.argv[1], "w").write(str(__import__("os").getpid()))
time.sleep(60)
"""
"""Writes down its process id, and leaves so many seconds after it is asked to."""


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "_FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(supervise, "_GLANCE_SECONDS", 0.005)


class Result:
    def __init__(self, code: int, runs: int, lines: list[str]) -> None:
        self.code, self.runs, self.lines = code, runs, lines


def ending(
    tmp_path: Path, *ends: int, attempts: int = 3, strict: bool = False, made: list[int]
) -> Result:
    """Supervises a process that ends so; `made` are the new assets before each further start."""
    state, lines, news = tmp_path / "state", list[str](), iter(made)
    code = supervise.supervise(
        [sys.executable, "-S", "-c", ENDS, str(state), *map(str, ends)],
        attempts=attempts,
        strict=strict,
        watch=Watch(),
        num_new=lambda: next(news),
        say=lines.append,
    )
    assert not list(news), "asked as often as expected"
    return Result(code, state.stat().st_size, lines)


@pytest.mark.parametrize("code", [0, 2])
def test_what_is_final_is_not_repeated(tmp_path: Path, code: int) -> None:
    result = ending(tmp_path, code, made=[])
    assert (result.code, result.runs, result.lines) == (code, 1, [])


def test_quarantine_is_complete_and_said(tmp_path: Path) -> None:
    result = ending(tmp_path, 3, made=[])
    assert (result.code, result.runs) == (0, 1)
    assert "code 3 in summary.json" in result.lines[0]


def test_quarantine_stays_what_it_is_if_strict(tmp_path: Path) -> None:
    result = ending(tmp_path, 3, strict=True, made=[])
    assert (result.code, result.runs, result.lines) == (3, 1, [])


@pytest.mark.parametrize("end", [1, 137, 143, 130, -signal.SIGKILL, -signal.SIGTERM])
def test_any_other_end_is_repeated(tmp_path: Path, end: int) -> None:
    result = ending(tmp_path, end, 0, made=[5])
    assert (result.code, result.runs) == (0, 2)
    said = end if end > 0 else 128 - end
    assert f"ended with code {said}" in result.lines[0]
    assert "5 new assets" in result.lines[0]


def test_it_gives_up_after_so_many_fruitless_ends_in_a_row(tmp_path: Path) -> None:
    result = ending(tmp_path, 1, 1, -9, 0, made=[0, 0, 0])
    assert (result.code, result.runs) == (137, 3)
    assert "the last of 3 in a row that committed nothing: given up" in result.lines[-1]


def test_an_attempt_that_made_something_does_not_count(tmp_path: Path) -> None:
    result = ending(tmp_path, 1, 1, 1, 1, 1, 0, made=[0, 0, 1, 0, 0])
    assert (result.code, result.runs) == (0, 6)


def test_an_attempt_is_the_least(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--attempts: expected 1 or more, got 0"):
        ending(tmp_path, 0, attempts=0, made=[])


def test_pauses_double_up_to_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "_FIRST_PAUSE_SECONDS", 1.0)
    assert [pause_seconds(k) for k in (0, 1, 2, 5, 6, 10**6)] == [1, 2, 4, 32, 60, 60]


PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the tests were started by
from pipeline import supervise
watch = supervise.Watch()
supervise.LEAVING_SECONDS = float(sys.argv[1])
with watch.listening():
    sys.exit(supervise.supervise(sys.argv[2:], attempts=3, strict=False, watch=watch,
                                 num_new=lambda: 0))
"""


@contextmanager
def supervised(
    tmp_path: Path, *, slowness: float, patience: float = 15.0
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A supervisor, and the id of its child, which takes `slowness` seconds to leave."""
    note = tmp_path / "pid"
    child = [sys.executable, "-S", "-c", WAITS, str(note), str(slowness)]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(patience), *child],
        env=driver_environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        end = time.monotonic() + 20
        while not (note.exists() and note.read_text()):
            assert time.monotonic() < end, "the child did not start"
            time.sleep(0.01)
        try:
            yield process, int(note.read_text())
        finally:
            process.kill()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_and_waited_for(tmp_path: Path, signum: int) -> None:
    with supervised(tmp_path, slowness=0.3) as (process, child):
        asked = time.monotonic()
        process.send_signal(signum)
        assert process.wait(10) == 128 + signum
        assert 0.3 <= time.monotonic() - asked < 5
        assert not is_running(child)


def test_a_child_that_does_not_leave_is_killed(tmp_path: Path) -> None:
    with supervised(tmp_path, slowness=60, patience=0.2) as (process, child):
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143
        assert not is_running(child)


def test_the_child_is_in_a_group_of_its_own(tmp_path: Path) -> None:
    """So that a terminal's Ctrl-C, which goes to the supervisor's group, reaches it once."""
    with supervised(tmp_path, slowness=0) as (process, child):
        assert os.getpgid(child) == child != os.getpgid(process.pid)


def test_a_signal_during_a_pause_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "_FIRST_PAUSE_SECONDS", 60.0)
    watch = Watch()

    def say(text: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with watch.listening():
        code = supervise.supervise(
            [sys.executable, "-S", "-c", "raise SystemExit(1)"],
            attempts=3,
            strict=False,
            watch=watch,
            num_new=lambda: 0,
            say=say,
        )
    assert code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Watch().listening():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_new_assets_are_counted_by_the_status_of_the_output(tmp_path: Path) -> None:
    """One was there before the run that died, according to its run.json."""
    url = str(tmp_path / "out")
    store = open_store(url)
    store.start_run(replace(sample_run(), num_assets_before=1))
    command = [sys.executable, "-m", "pipeline", "status", "--output", url, "--json"]
    census = Census(command, Watch())
    tasks = [sample_task(k) for k in range(4)]
    for task in tasks[:3]:
        store.commit(task.asset_id, sample_bytes(task))
    assert census.num_new() == 2
    assert census.num_new() == 0
    store.commit(tasks[3].asset_id, sample_bytes(tasks[3]))
    assert census.num_new() == 1


def test_an_output_that_cannot_be_counted_has_nothing_new(tmp_path: Path) -> None:
    answer = json.dumps({"num_committed": 5, "run": None})
    ok = [sys.executable, "-S", "-c", f"print({answer!r})"]
    assert Census([sys.executable, "-S", "-c", "raise SystemExit(2)"], Watch()).num_new() == 0
    assert Census(ok, Watch()).num_new() == 0, "nobody knows how many there were"


def test_only_a_run_is_supervised(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["supervise", "--", "status", "--output", "x"]) == exit_codes.USER
    assert "expected a run behind it" in capsys.readouterr().err


def test_a_mistake_in_the_run_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["supervise", "--", "run", "--manifest", "m"])
    assert left.value.code == 2
    assert "--output" in capsys.readouterr().err


def test_the_command_starts_its_own_program(tmp_path: Path) -> None:
    """The run's mistake is said by a child: the supervisor itself does not look at manifests."""
    words = ["run", "--manifest", tmp_path / "none.parquet", "--output", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pipeline", "supervise", "--", *map(str, words)],
        env=driver_environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == exit_codes.USER
    assert "none.parquet" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_it_starts_at_once_and_stays_small() -> None:
    program = """
import sys
from pipeline import cli, supervise
heavy = {"torch", "ray", "pandas", "numpy", "pyarrow", "fsspec", "prometheus_client"}
sys.exit(", ".join(heavy & sys.modules.keys()) or 0)
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
