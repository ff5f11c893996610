"""A step as CUDA graphs: recorded once, replayed ever after, with hardly any work for the host.

A recording is cut wherever the stopwatch laps, so that the parts of a replayed step are timed as
those of any other: it is a handful of graphs, launched one after the other. They share one pool of
memory, in the order in which they were recorded.

What is recorded may read and write only what stays where it is: state that outlives a step lies in
buffers that are filled in place. It may wait for nothing and branch on no number of the device.
"""

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, runtime_checkable

import torch

from engine.stopwatch import Stopwatch

WARM_UP = 3
"""Steps before the one that is recorded: kernels are compiled and loaded, libraries set up."""

_LOG = logging.getLogger(__name__)


@runtime_checkable  # for the checks of types in tests
class Graph(Protocol):
    """Work that was recorded (`torch.cuda.CUDAGraph`)."""

    def replay(self) -> None: ...


@runtime_checkable  # for the checks of types in tests
class Recorder(Protocol):
    """What records a device's work instead of doing it."""

    def recording(self) -> AbstractContextManager[None]:
        """The surroundings of all graphs of a recording."""
        ...

    def begin(self) -> None:
        """From now on work is recorded."""
        ...

    def end(self) -> Graph:
        """What was recorded since the last `begin`."""
        ...


class CudaRecorder:
    """Records on a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._graph: torch.cuda.CUDAGraph | None = None

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Memory that the steps before have left over goes first: the graphs take as much again."""
        torch.cuda.synchronize(self._device)
        gc.collect()
        torch.cuda.empty_cache()
        with torch.cuda.stream(torch.cuda.Stream(self._device)):
            try:
                yield
            finally:
                if self._graph is not None:
                    # Of a recording that broke off; the stream has to come out of it.
                    _abandon(self._graph)
                    self._graph = None

    def begin(self) -> None:
        """See `Recorder`."""
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as an export's, may go on; what they ask for is not recorded.
        graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
        self._graph = graph

    def end(self) -> Graph:
        """See `Recorder`."""
        graph = self._graph
        assert graph is not None
        graph.capture_end()
        self._graph = None
        return graph


class Replay:
    """Steps that are done, then recorded, then replayed; and the laps of their stopwatch.

    Without a recorder every step is done as it is. So it is from then on if recording fails, of
    which the log tells.
    """

    def __init__(self, stopwatch: Stopwatch, recorder: Recorder | None) -> None:
        self._stopwatch = stopwatch
        self._recorder = recorder
        self._num_done = 0
        self._is_recording = False
        self._graphs: list[tuple[str, Graph]] = []

    @property
    def num_graphs(self) -> int:
        """Graphs that a step is replayed by; 0 as long as there is no recording."""
        return len(self._graphs)

    def lap(self, part: str) -> None:
        """The stopwatch's lap, or in a recording where it will be."""
        if not self._is_recording:
            self._stopwatch.lap(part)
            return
        self._cut(part)
        assert self._recorder is not None
        self._recorder.begin()

    def step(self, work: Callable[[], None], last: str) -> None:
        """Does `work` in a way of its own; what comes behind its last lap is of the part `last`.

        `work` is the same every time, and never done by a recording of it.
        """
        if self._recorder is not None and self._num_done >= WARM_UP and not self._graphs:
            self._record(work, last)
        self._num_done += 1
        self._stopwatch.start()
        if not self._graphs:
            work()
            self._stopwatch.stop(last)
            return
        for part, graph in self._graphs[:-1]:
            graph.replay()
            self._stopwatch.lap(part)
        part, graph = self._graphs[-1]
        graph.replay()
        self._stopwatch.stop(part)

    def _record(self, work: Callable[[], None], last: str) -> None:
        assert self._recorder is not None
        try:
            with self._recorder.recording():
                self._recorder.begin()
                self._is_recording = True
                work()
                self._cut(last)
        except Exception as error:
            self._graphs = []
            self._recorder = None
            _LOG.warning(
                "steps are launched one operation after another, since they could not be recorded "
                "as CUDA graphs: %s",
                " ".join(str(error).split())[:500],
            )
        else:
            _LOG.info("a step is replayed by %d CUDA graphs from now on", len(self._graphs))
        finally:
            self._is_recording = False

    def _cut(self, part: str) -> None:
        assert self._recorder is not None
        self._graphs.append((part, self._recorder.end()))


def _abandon(graph: torch.cuda.CUDAGraph) -> None:
    try:
        graph.capture_end()
    except RuntimeError as error:
        _LOG.debug("the end of a recording that broke off: %s", error)
