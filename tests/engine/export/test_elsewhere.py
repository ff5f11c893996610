import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from engine.export import mesh_tools
from engine.export.elsewhere import MeshCrew, MeshProcess


@pytest.fixture
def process():
    found = MeshProcess()
    yield found
    found.close()


def _cubes(side: int = 8) -> np.ndarray:
    values = np.zeros((side,) * 3, dtype=np.float32)
    values[2:-2, 2:-2, 3:-2] = 1.0
    return values


def _pid(process: MeshProcess) -> int:
    assert process._process is not None
    return process._process.pid


def test_a_call_gives_what_the_function_gives_here(process: MeshProcess):
    expected = mesh_tools.marching_cubes(_cubes(), level=0.5)
    found = process.call("marching_cubes", [_cubes()], level=0.5)
    for here, there in zip(expected, found, strict=True):
        assert here.dtype == there.dtype
        np.testing.assert_array_equal(here, there)
    vertices, faces = found
    simple = process.call("simplify", [vertices, faces], max_faces=40)
    assert 0 < len(simple[1]) <= 40


def test_arrays_of_any_layout_arrive_whole(process: MeshProcess):
    """Not contiguous, and larger than a pipe holds."""
    values = np.zeros((90, 90, 90), dtype=np.float64)
    values[10:50, 20:40, 30:80] = 1.0
    turned = values.transpose(2, 0, 1)
    assert not turned.flags.c_contiguous
    expected = mesh_tools.marching_cubes(turned, level=0.5)
    for here, there in zip(
        expected, process.call("marching_cubes", [turned], level=0.5), strict=True
    ):
        np.testing.assert_array_equal(here, there)


def test_an_error_is_told_and_the_process_goes_on(process: MeshProcess):
    process.call("marching_cubes", [_cubes()], level=0.5)
    before = _pid(process)
    with pytest.raises(RuntimeError, match=r"^marching_cubes: ValueError: Surface level must be"):
        process.call("marching_cubes", [_cubes()], level=9.0)
    process.call("marching_cubes", [_cubes()], level=0.5)
    assert _pid(process) == before


def test_a_process_that_was_killed_is_an_error_once(process: MeshProcess):
    process.call("marching_cubes", [_cubes()], level=0.5)
    before = _pid(process)
    os.kill(before, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"^marching_cubes: the mesh process ended with code -9"):
        process.call("marching_cubes", [_cubes()], level=0.5)
    process.call("marching_cubes", [_cubes()], level=0.5)
    assert _pid(process) != before


@pytest.fixture
def crew():
    found = MeshCrew()
    yield found
    found.close()


def _at_once(crew: MeshCrew, sides: tuple[int, ...]) -> list[object]:
    """What calls at the same time return, or say where they raise; one of side 0 does."""
    found: list[object] = [None] * len(sides)
    start = threading.Barrier(len(sides))

    def work(place: int, side: int) -> None:
        start.wait()
        level = 0.5 if side else 9.0
        try:
            found[place] = crew.call("marching_cubes", [_cubes(side or 8)], level=level)
        except RuntimeError as error:
            found[place] = str(error)

    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(sides)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_calls_at_the_same_time_have_a_process_each(crew: MeshCrew):
    sides = (80, 90, 100)
    for _ in range(2):
        for side, found in zip(sides, _at_once(crew, sides), strict=True):
            expected = mesh_tools.marching_cubes(_cubes(side), level=0.5)
            assert isinstance(found, tuple)
            for here, there in zip(expected, found, strict=True):
                np.testing.assert_array_equal(here, there)
    assert 2 <= len(crew._idle) <= 3
    assert len({_pid(process) for process in crew._idle}) == len(crew._idle)


def test_calls_one_after_the_other_have_the_same_process(crew: MeshCrew):
    for _ in range(3):
        crew.call("marching_cubes", [_cubes()], level=0.5)
    assert len(crew._idle) == 1


def test_a_call_that_fails_takes_no_others_along(crew: MeshCrew):
    first, failed, last = _at_once(crew, (80, 0, 90))
    assert isinstance(first, tuple)
    assert isinstance(last, tuple)
    assert str(failed).startswith("marching_cubes: ValueError: Surface level must be")


def test_closing_ends_all_of_them(crew: MeshCrew):
    _at_once(crew, (80, 90))
    pids = [_pid(process) for process in crew._idle]
    assert all(map(_lives, pids))
    crew.close()
    assert not any(map(_lives, pids))


def test_they_end_with_a_process_that_is_killed():
    """By the end of their input, because nobody is left to tell them; none holds another's open."""
    program = (
        "import numpy, sys; from engine.export.elsewhere import MESH_CREW as p\n"
        "for each in (p._take(), p._take()):\n"
        "    cubes = numpy.eye(4)[:, :, None] * numpy.ones(4)\n"
        "    each.call('marching_cubes', [cubes], level=.5)\n"
        "    print(each._process.pid, flush=True)\n"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        pids = [int(parent.stdout.readline()) for _ in range(2)]
        assert len(set(pids)) == 2
        assert all(map(_lives, pids))
        parent.kill()
    deadline = time.monotonic() + 20.0
    while any(map(_lives, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(_lives, pids))


def _lives(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not waited for does not."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(") ", 1)[1][0] != "Z"
    except FileNotFoundError:
        return False


def test_the_other_process_loads_no_torch(process: MeshProcess):
    """It would take a second to start and a quarter of a gigabyte."""
    program = (
        "import engine.export.elsewhere, engine.export.mesh_tools, sys, json;"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert {"torch", "scipy", "PIL"}.isdisjoint(json.loads(done.stdout))


def test_a_thread_of_this_process_goes_on_meanwhile(process: MeshProcess):
    """Called here, the unwrapping stops every other thread; there it stops none."""
    side = 64
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, side)] * 3, indexing="ij"), axis=-1)
    ball = (0.7 - np.linalg.norm(grid, axis=-1)).astype(np.float32)
    vertices, faces = mesh_tools.marching_cubes(ball, level=0.0)
    process.call("unwrap", [vertices, faces], size=256)
    assert len(faces) > 15_000
    stalled, seconds = _longest_pause(lambda: mesh_tools.unwrap(vertices, faces, size=256))
    assert stalled > 0.8 * seconds
    free, seconds = _longest_pause(lambda: process.call("unwrap", [vertices, faces], size=256))
    assert free < 0.5 * seconds


def _longest_pause(call) -> tuple[float, float]:
    """The longest time for which another thread did not run during the call, and the call's."""
    pauses, is_over = [0.0], threading.Event()

    def tick() -> None:
        last = time.perf_counter()
        while not is_over.wait(0.001):
            now = time.perf_counter()
            pauses.append(now - last)
            last = now
        pauses.append(time.perf_counter() - last)

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    is_over.set()
    thread.join()
    return max(pauses), seconds
