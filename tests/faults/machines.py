"""Machines of a cluster that come and go: each is a raylet with one made-up GPU."""

import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.clusters import Head, descendants, kill_machine, worker_machine

_STARTING_SECONDS = 40.0
_LIST = """
import sys, ray
ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")
print(*(n["NodeID"] for n in ray.nodes() if n["Alive"] and n["Resources"].get("GPU")))
"""


@dataclass(kw_only=True)
class Machine:
    """One machine, which can be switched off and on again. A context manager: it ends off."""

    head: Head
    process: subprocess.Popen[bytes] | None = None
    _since: float = 0.0
    _running: ExitStack = field(default_factory=ExitStack)

    @property
    def is_on(self) -> bool:
        """Whether it is in the cluster, or may soon be. The raylet of a drained machine leaves,
        and the process that started it stays."""
        if self.process is None or self.process.poll() is not None:
            return False
        is_starting = time.monotonic() - self._since < _STARTING_SECONDS
        return is_starting or any(map(_is_raylet, descendants(self.process.pid)))

    def switch_on(self) -> None:
        """Starts it. Returns when its processes have been started."""
        self._running.close()
        self._since = time.monotonic()
        self.process = self._running.enter_context(
            worker_machine(self.head, num_cpus=1, num_gpus=1)
        )

    def kill(self) -> None:
        """SIGKILL to all its processes."""
        assert self.process is not None
        kill_machine(self.process)

    def __enter__(self) -> Self:
        self.switch_on()
        return self

    def __exit__(self, *error: object) -> None:
        self._running.close()


def _is_raylet(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].endswith(b"/raylet")
    except OSError:
        return False


def drain(head: Head, number: int = 0) -> bool:
    """Tells Ray that the `number`-th machine with a GPU, counted round, will be taken away; False
    if none is up, or if Ray knows that one no more."""
    environment = head.environment()
    found = subprocess.run(
        [sys.executable, "-c", _LIST, head.address],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    nodes = sorted(found.stdout.split())
    if not nodes:
        return False
    words = ["drain-node", "--address", head.address, "--node-id", nodes[number % len(nodes)]]
    words += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
    words += ["--deadline-remaining-seconds", "60"]
    ray = Path(sys.executable).parent / "ray"
    told = subprocess.run([ray, *words], env=environment, check=False, capture_output=True)
    return told.returncode == 0
