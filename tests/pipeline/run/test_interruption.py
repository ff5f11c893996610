"""What a signal to this process does, moment by moment."""

import os
import signal
from collections.abc import Iterator

import pytest

from pipeline.run.interruption import Interruption

SIGNALS = pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])


@pytest.fixture(autouse=True)
def _heard() -> Iterator[None]:
    """No signal is ignored, as Ctrl-C is by what a shell without jobs runs in the background."""
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {
        s: signal.signal(s, x) for s, x in {**handlers, signal.SIGHUP: signal.SIG_DFL}.items()
    }
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


def send(signum: int) -> None:
    os.kill(os.getpid(), signum)


@SIGNALS
def test_a_signal_interrupts(signum: int) -> None:
    before = signal.getsignal(signum)
    interruption = Interruption()
    with interruption.listening(), pytest.raises(KeyboardInterrupt):
        send(signum)
    assert interruption.exit_code == 128 + signum
    assert signal.getsignal(signum) is before


@SIGNALS
def test_a_signal_that_is_ignored_stays_so(signum: int) -> None:
    """As under `nohup`, or in the background of a shell."""
    before, interruption = signal.signal(signum, signal.SIG_IGN), Interruption()
    try:
        with interruption.listening():
            send(signum)
            assert signal.getsignal(signum) is signal.SIG_IGN
        assert signal.getsignal(signum) is signal.SIG_IGN
    finally:
        signal.signal(signum, before)


def softened(*signals: int, asked: list[str]) -> None:
    """A block that wants to end by itself, and gets these signals."""
    interruption = Interruption()
    try:
        with interruption.listening(), interruption.softened(lambda: asked.append("asked")):
            for signum in signals:
                send(signum)
                asked.append("goes on")
            if not signals:
                asked.append("goes on")
    finally:
        asked.append(f"exit code {interruption.exit_code}")


@SIGNALS
def test_who_wants_to_end_by_himself_is_asked_to(signum: int) -> None:
    asked: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        softened(signum, asked=asked)
    assert asked == ["asked", "goes on", f"exit code {128 + signum}"]


def test_without_a_signal_nothing_happens() -> None:
    asked: list[str] = []
    softened(asked=asked)
    assert asked == ["goes on", "exit code 130"]


def test_a_second_sigterm_changes_nothing() -> None:
    asked: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        softened(signal.SIGTERM, signal.SIGTERM, asked=asked)
    assert asked == ["asked", "goes on", "asked", "goes on", "exit code 143"]


@SIGNALS
def test_a_second_ctrl_c_does_not_wait(signum: int) -> None:
    asked: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        softened(signum, signal.SIGINT, asked=asked)
    assert asked == ["asked", "goes on", f"exit code {128 + signum}"], "the first one counts"


def test_behind_the_block_a_signal_interrupts_again() -> None:
    interruption = Interruption()
    with interruption.listening():
        with interruption.softened(lambda: None):
            pass
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGTERM)


def test_an_error_behind_a_signal_is_not_hidden() -> None:
    def torn() -> None:
        with interruption.listening(), interruption.softened(lambda: None):
            send(signal.SIGTERM)
            raise ValueError("torn")

    interruption = Interruption()
    with pytest.raises(ValueError, match="torn"):
        torn()
