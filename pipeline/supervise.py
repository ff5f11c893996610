"""`dreambatch supervise -- run ...`: a driver that dies is started again, on the same cluster.

    the run ends with                          what follows
    0, 2                                       that code: complete, or a mistake of the user's
    3, complete with quarantine                0, for schedulers that build a new cluster for any
                                               other code; 3 under `strict`
    1, 128 + n, death by a signal              again, after a pause that doubles; that code, after
                                               so many such ends in a row without a new asset

SIGTERM, Ctrl-C and a closed terminal are passed on to the run, which has `LEAVING_SECONDS` to leave
before it is killed; then the supervisor leaves with 128 + n. The run is in a process group of its
own, so that a terminal's Ctrl-C reaches it once. Nothing heavy is imported: this process holds a
place beside the driver for days.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import FrameType
from typing import IO

from pipeline import exit_codes
from pipeline.errors import UserError
from pipeline.signals import heard

LEAVING_SECONDS = 15.0
LONGEST_PAUSE_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 1.0
_GLANCE_SECONDS = 0.1
_FINAL = (exit_codes.COMPLETE, exit_codes.USER, exit_codes.QUARANTINE)


class Watch:
    """Runs processes one at a time, and passes on to them the signals that this one gets."""

    def __init__(self) -> None:
        self.signum: int | None = None
        """The first signal that asked this process to end."""
        self._child: subprocess.Popen[bytes] | None = None
        self._called = threading.Event()

    def listening(self) -> AbstractContextManager[None]:
        """Takes the signals over."""
        return heard(self._hear)

    def run(self, command: Sequence[str], *, stdout: IO[bytes] | None = None) -> int:
        """The exit code of a process, 128 + n where signal n ended it. If this process is told to
        end, so is that one: it has `LEAVING_SECONDS`."""
        with subprocess.Popen(command, stdout=stdout, process_group=0) as child:
            self._child = child
            if self.signum is not None:
                child.send_signal(self.signum)  # it came before there was anybody to tell
            while child.poll() is None and not self._called.wait(_GLANCE_SECONDS):
                pass
            try:
                child.wait(LEAVING_SECONDS if self._called.is_set() else None)
            except subprocess.TimeoutExpired:
                child.kill()
            self._child = None
        return child.returncode if child.returncode >= 0 else 128 - child.returncode

    def pause(self, seconds: float) -> None:
        """Waits, unless this process is told to end."""
        self._called.wait(seconds)

    def _hear(self, signum: int, frame: FrameType | None) -> None:
        self.signum = self.signum or signum
        self._called.set()
        if self._child is not None:
            self._child.send_signal(signum)


class Census:
    """Counts the assets of an output by a command that prints `dreambatch status --json`, so that
    file systems are imported by another process than this."""

    def __init__(self, command: Sequence[str], watch: Watch) -> None:
        self._command = command
        self._watch = watch
        self._known: int | None = None

    def num_new(self) -> int:
        """Assets committed since the last call; at first, since the output's newest run began. 0
        where the command fails, which then has said why."""
        with tempfile.TemporaryFile() as answer:
            if self._watch.run(self._command, stdout=answer) != exit_codes.COMPLETE:
                return 0
            answer.seek(0)
            status = json.load(answer)
        found: int = status["num_committed"]
        before = self._known
        if before is None:
            before = status["run"]["num_assets_before"] if status["run"] else found
        self._known = found
        return max(0, found - before)


def supervise(
    command: Sequence[str],
    *,
    attempts: int,
    strict: bool,
    watch: Watch,
    num_new: Callable[[], int],
    say: Callable[[str], None] = lambda text: print(text, flush=True),
) -> int:
    """Runs `command` to its end, as often as it takes; returns the exit code, see above.

    `num_new` says how many assets have been committed since it was last asked. Gives up after
    `attempts` failed ends in a row before which there was none.
    """
    if attempts < 1:
        raise UserError(f"--attempts: expected 1 or more, got {attempts}")
    num_fruitless = 0
    while True:
        began = time.monotonic()
        code = watch.run(command)
        if watch.signum is not None:
            return 128 + watch.signum
        if code in _FINAL:
            return _final(code, strict=strict, say=say)
        made = num_new()
        num_fruitless = 0 if made else num_fruitless + 1
        ended = f"supervise: the run ended with code {code} after {time.monotonic() - began:.0f} s"
        if num_fruitless >= attempts:
            say(f"{ended}, the last of {attempts} in a row that committed nothing: given up")
            return code
        seconds = pause_seconds(num_fruitless)
        assets = "1 new asset" if made == 1 else f"{made} new assets"
        say(f"{ended} and {assets}; it starts again in {seconds:.0f} s")
        watch.pause(seconds)
        if watch.signum is not None:
            return 128 + watch.signum


def pause_seconds(num_fruitless: int) -> float:
    """The pause after so many ends in a row without a new asset: 1 s, doubled each time."""
    return min(LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(num_fruitless, 10))


def own_program() -> list[str]:
    """The words that started this program, without its arguments: interpreter, options, module."""
    return [sys.executable, *sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]]


def _final(code: int, *, strict: bool, say: Callable[[str], None]) -> int:
    if code != exit_codes.QUARANTINE or strict:
        return code
    say(
        f"supervise: complete with quarantined prompts, code {code} in summary.json; the code here "
        f"is {exit_codes.COMPLETE}, so that no scheduler runs it again (--strict keeps {code})"
    )
    return exit_codes.COMPLETE
