"""Who is born into another process group, and how it ends."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from pipeline.fleet.process_group import ProcessGroup
from tests.clusters import ROOT, is_running, wait_until_gone

OWNER = """
import subprocess
from pipeline.fleet.process_group import ProcessGroup
group = ProcessGroup()
with group.joined():
    print(subprocess.Popen(["sleep", "60"], preexec_fn=int).pid, flush=True)
input()
"""
"""Starts one of the group, tells who, and waits."""


def sleeper(by_way_of: Callable[[], object] | None = int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"], preexec_fn=by_way_of)


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def test_those_who_join_are_in_one_group_and_end_with_it() -> None:
    group = ProcessGroup()
    with group.joined():
        members = [sleeper(), sleeper()]
    (found,) = {os.getpgid(member.pid) for member in members}
    assert found != os.getpgrp()
    assert all(member.poll() is None for member in members)
    group.close()
    assert [member.wait(timeout=10) for member in members] == [-signal.SIGKILL] * 2


def test_others_stay_and_live_on() -> None:
    """Those of other threads, those that are started later, and those that never come by Python."""
    group, others = ProcessGroup(), []
    with group.joined():
        thread = threading.Thread(target=lambda: others.append(sleeper()))
        thread.start()
        thread.join()
        others.append(sleeper(by_way_of=None))
    others.append(sleeper())
    try:
        assert len(others) == 3
        assert {os.getpgid(other.pid) for other in others} == {os.getpgrp()}
        group.close()
        assert [other.poll() for other in others] == [None] * 3
    finally:
        for other in others:
            end(other)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_the_group_ends_with_its_owner_however_that_dies(signum: int) -> None:
    words = [sys.executable, "-W", "error", "-c", OWNER]
    with subprocess.Popen(
        words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        member = int(owner.stdout.readline())
        assert is_running(member)
        os.kill(owner.pid, signum)
        assert owner.wait(timeout=10) == -signum
    assert wait_until_gone({member}, 10) == set()
