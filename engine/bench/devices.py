"""Makers on the devices of one machine, each in a process of its own that sees one device.

All are readied first. Then the first one runs while the others rest, then all run at the same time.
Cores are shared out evenly, and the first one has no more of them while it is alone, nor have the
processes that it starts. Waiting threads sleep, as an actor's do.
"""

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch

from engine.bench.gate import GateError
from engine.bench.maker import Maker, Order, Report
from engine.hardware import usual_device

_CLOSE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Together:
    """Reports of the first device alone, and of all at once."""

    alone: Report
    all: list[Report]


def compared(order: Order, num_devices: int) -> Together:
    """Runs the order as the file says; a single device once.

    Raises GateError, and RuntimeError where a process dies.
    """
    with ExitStack() as stack:
        makers = [stack.enter_context(_process(order, k, num_devices)) for k in range(num_devices)]
        _asked(makers, "warm")
        (alone,) = _asked(makers[:1], "run")
        together = _asked(makers, "run") if num_devices > 1 else [alone]
        return Together(alone=alone, all=together)


def _asked(makers: list[Connection], call: str) -> list[Any]:
    """Answers of all, which work at the same time."""
    for number, maker in enumerate(makers):
        try:
            maker.send(call)
        except BrokenPipeError:
            raise RuntimeError(f"{call}: the process of device {number} has ended") from None
    answers = []
    for number, maker in enumerate(makers):
        try:
            answer = maker.recv()
        except (EOFError, ConnectionResetError):
            raise RuntimeError(f"{call}: the process of device {number} ended") from None
        if isinstance(answer, GateError):
            raise GateError(f"device {number}: {answer}")
        answers.append(answer)
    return answers


@contextmanager
def _process(order: Order, number: int, num_devices: int) -> Iterator[Connection]:
    """A maker's process, which ends with the block."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, order, number), name=f"device {number}")
    with _environment(environment(number, num_devices)), _affinity(cores(number, num_devices)):
        process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        # It sees that nobody listens once its run, if there is one, is over.
        process.join(_CLOSE_SECONDS)
        if process.is_alive():
            process.terminate()
            process.join()
        process.close()


def cores(number: int, num_devices: int) -> set[int]:
    """A device's share of the cores that this process may use: neighbours, and one at least."""
    ours = sorted(os.sched_getaffinity(0))
    share = max(1, len(ours) // num_devices)
    return {ours[k % len(ours)] for k in range(number * share, (number + 1) * share)}


def environment(number: int, num_devices: int) -> dict[str, str]:
    """Variables of a device's process: the one device that it sees, and how its threads wait."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(k) for k in range(num_devices)] if seen is None else seen.split(",")
    if len(names) < num_devices:
        raise ValueError(f"--devices: expected {num_devices} in CUDA_VISIBLE_DEVICES, got {seen!r}")
    return {"CUDA_VISIBLE_DEVICES": names[number], "OMP_WAIT_POLICY": "PASSIVE"}


def serve(asking: Connection, order: Order, number: int) -> None:
    """Answers `warm` and `run` until nobody asks any more."""
    device = usual_device()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    maker = None
    while True:
        try:
            call = asking.recv()
        except EOFError:
            return
        try:
            maker = maker or Maker(order, device, number=number)
            answer = getattr(maker, call)()
        except GateError as error:
            answer = error
        try:
            asking.send(answer)
        except BrokenPipeError:
            return


@contextmanager
def _affinity(share: set[int]) -> Iterator[None]:
    """Cores for processes that are started within."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, share)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    """Variables for processes that are started within."""
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
