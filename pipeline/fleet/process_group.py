"""A process group besides the driver's, for the Ray that the driver starts.

`timeout`, a shell and a terminal that closes send their signals to the whole group of the driver.
It wants to end in order, and needs its Ray for that; Ray keeps only Ctrl-C from its processes.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_KEEPER = ("sh", "-c", "read _; kill -KILL 0")
_JOINED: ContextVar[int | None] = ContextVar("_JOINED", default=None)


class ProcessGroup:
    """Nothing in it outlives `close`, or this process, however that dies.

    Its leader waits until its input ends, and then kills the group. The kernel kills what Ray has
    started here, but not its agents, which look for the dead rest of Ray for a minute.
    """

    def __init__(self) -> None:
        self._keeper = subprocess.Popen(_KEEPER, stdin=subprocess.PIPE, process_group=0)

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Has the processes that this thread starts be born into the group, if they come by Python
        before they execute: `subprocess` with a `preexec_fn`, which is how Ray starts its own."""
        token = _JOINED.set(self._keeper.pid)
        try:
            yield
        finally:
            _JOINED.reset(token)

    def close(self) -> None:
        """Kills what is still in the group."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        self._keeper.wait()


def _join() -> None:
    group = _JOINED.get()
    if group is not None:
        os.setpgid(0, group)


# Once for all groups, because nothing that is registered can be taken back.
os.register_at_fork(after_in_child=_join)
