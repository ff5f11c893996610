"""Runs functions of `engine.export.mesh_tools` in a process of their own.

They hold Python's lock while they run, and the thread that feeds the GPU would stand still: here it
waits for a pipe, which holds nothing. Such a process is started by the first call, and another one
by a call that comes while all there are have work: as many as threads that call at the same time.
Each ends when its input ends, so that it does not outlive this process, however that dies.

A message is a line of JSON, then the bytes of the arrays that the line describes:

    asked     {"call": name, "settings": {...}, "arrays": [[type, shape], ...]}
    answered  {"arrays": [[type, shape], ...]} or {"error": text}
"""

import atexit
import contextlib
import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from engine.export import mesh_tools

_ROOT = Path(__file__).parents[2]


class MeshProcess:
    """One other process; started by the first call, and again by the next one if it has died.

    One thread calls at a time (see `MeshCrew`).
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, name: str, arrays: Sequence[np.ndarray], **settings: float) -> mesh_tools.Arrays:
        """What the function of `mesh_tools` returns.

        Raises RuntimeError with the error's words where it fails, or the process dies under it.
        """
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            _write(process.stdin, {"call": name, "settings": settings}, arrays)
            header, found = _read(process.stdout)
        except (OSError, EOFError):
            code = self._end(kill=True)
            raise RuntimeError(f"{name}: the mesh process ended with code {code}") from None
        except BaseException:
            # Half a call was told, or half an answer read: the next would get the rest.
            self._end(kill=True)
            raise
        if "error" in header:
            raise RuntimeError(f"{name}: {header['error']}")
        return found

    def close(self) -> None:
        """Ends the process, if there is one."""
        if self._process is not None:
            self._end(kill=False)

    def _start(self) -> "subprocess.Popen[bytes]":
        path = os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            # An interrupt typed at a terminal is this process's to handle.
            start_new_session=True,
        )
        return self._process

    def _end(self, *, kill: bool) -> int:
        process, self._process = self._process, None
        assert process is not None
        if kill:
            process.kill()
        assert process.stdin is not None
        # What a dead process was not told any more goes down with it.
        with process, contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        return process.returncode


class MeshCrew:
    """As many processes as there are calls at the same time."""

    def __init__(self) -> None:
        self._idle: deque[MeshProcess] = deque()

    def call(self, name: str, arrays: Sequence[np.ndarray], **settings: float) -> mesh_tools.Arrays:
        """As `MeshProcess.call`, by one that has no work; a failure is that call's alone."""
        process = self._take()
        try:
            return process.call(name, arrays, **settings)
        finally:
            self._idle.append(process)

    def close(self) -> None:
        """Ends those that have no work; a busy one ends with its input, at this process's end."""
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> MeshProcess:
        # The one that was last at work: no more are started than are needed.
        try:
            return self._idle.pop()
        except IndexError:
            return MeshProcess()


def serve() -> None:
    """Answers calls from the standard input until it ends."""
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            header, arrays = _read(sys.stdin.buffer)
        except EOFError:
            return
        try:
            found = getattr(mesh_tools, header["call"])(*arrays, **header["settings"])
        except Exception as error:
            _write(answers, {"error": f"{type(error).__name__}: {error}"}, ())
        else:
            _write(answers, {}, found)


def _write(stream: IO[bytes], header: dict[str, Any], arrays: Sequence[np.ndarray]) -> None:
    described = [[array.dtype.str, list(array.shape)] for array in arrays]
    stream.write(json.dumps(header | {"arrays": described}).encode() + b"\n")
    for array in arrays:
        stream.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    stream.flush()


def _read(stream: IO[bytes]) -> tuple[dict[str, Any], mesh_tools.Arrays]:
    """Raises EOFError where the stream ends before the message."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    header = json.loads(line)
    return header, tuple(_array(stream, kind, shape) for kind, shape in header["arrays"])


def _array(stream: IO[bytes], kind: str, shape: list[int]) -> np.ndarray:
    array = np.empty(shape, dtype=kind)
    rest = array.reshape(-1).view(np.uint8).data
    while len(rest):
        count = stream.readinto(rest)  # pyright: ignore[reportAttributeAccessIssue]
        if not count:
            raise EOFError
        rest = rest[count:]
    return array


MESH_CREW = MeshCrew()
atexit.register(MESH_CREW.close)
call = MESH_CREW.call
