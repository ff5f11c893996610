"""Ray clusters for tests: own ports, own directory, ended by a signal to their own process.

`ray stop` is never used: it ends every Ray of the machine. The temporary directory has a short name
because sockets lie in it, and the path of a socket has at most 107 characters.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
_RAY = Path(sys.executable).parent / "ray"
_UP_SECONDS = 60
_DOWN_SECONDS = 20


@dataclass(frozen=True, kw_only=True)
class Head:
    """A running cluster, of one machine at first.

    `process` is the `ray start --block` that holds it, `directory` has its files. The metrics of
    autoscaler and dashboard are given by their addresses, host and port. `machine_environment` is
    what its machines have beyond other processes.
    """

    address: str
    dashboard_url: str
    metrics_url: str
    autoscaler_metrics: str
    dashboard_metrics: str
    directory: Path
    machine_environment: Mapping[str, str]
    process: subprocess.Popen[bytes]

    def environment(self) -> dict[str, str]:
        """What a driver needs in its environment to join."""
        return driver_environment() | {"RAY_ADDRESS": self.address}


def driver_environment() -> dict[str, str]:
    """The environment of a driver whose workers find this repository; it names no cluster."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTEST_"))}
    return inherited | {
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "200",
    }


@contextmanager
def short_directory() -> Iterator[Path]:
    """A place for Ray's files whose name leaves room for the names of its sockets."""
    directory = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def head(*, num_cpus: int = 1, environment: Mapping[str, str] | None = None) -> Iterator[Head]:
    """A cluster of one machine, gone with all its processes and files at the end; `environment` is
    for this and further machines."""
    port, dashboard, metrics, agent, client, of_autoscaler, of_dashboard = free_ports(7)
    of_machines = dict(environment or {})
    ports = {"AUTOSCALER_METRIC_PORT": of_autoscaler, "DASHBOARD_METRIC_PORT": of_dashboard}
    of_head = of_machines | {name: str(number) for name, number in ports.items()}
    command = [
        str(_RAY),
        "start",
        "--head",
        "--block",
        f"--port={port}",
        f"--dashboard-port={dashboard}",
        f"--metrics-export-port={metrics}",
        f"--dashboard-agent-listen-port={agent}",
        f"--ray-client-server-port={client}",
        "--node-ip-address=127.0.0.1",
        f"--num-cpus={num_cpus}",
        "--num-gpus=0",
        "--object-store-memory=100000000",
    ]
    url = f"http://127.0.0.1:{dashboard}"
    with short_directory() as directory:
        log = directory / "start.log"
        with _started([*command, f"--temp-dir={directory}"], log, of_head) as process:
            try:
                wait_for_answer(f"{url}/api/version", process, log, _UP_SECONDS)
                yield Head(
                    address=f"127.0.0.1:{port}",
                    dashboard_url=url,
                    metrics_url=f"http://127.0.0.1:{metrics}/metrics",
                    autoscaler_metrics=f"127.0.0.1:{of_autoscaler}",
                    dashboard_metrics=f"127.0.0.1:{of_dashboard}",
                    directory=directory,
                    machine_environment=of_machines,
                    process=process,
                )
            finally:
                _end(process)


@contextmanager
def worker_machine(
    head: Head, *, num_cpus: int, num_gpus: int = 0, metrics_port: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A further "machine" of a cluster: another raylet on this one, with made-up resources.

    Its files are its own: where machines share a directory, the later one to unpack a job's code
    removes it first, under the feet of those that run it.
    """
    metrics, agent = free_ports(2)
    directory = Path(tempfile.mkdtemp(prefix="m", dir=head.directory))
    metrics = metrics_port or metrics
    command = [
        str(_RAY),
        "start",
        "--block",
        f"--address={head.address}",
        f"--temp-dir={directory}",
        f"--metrics-export-port={metrics}",
        f"--dashboard-agent-listen-port={agent}",
        f"--num-cpus={num_cpus}",
        f"--num-gpus={num_gpus}",
        "--object-store-memory=80000000",
    ]
    with _started(command, directory / "start.log", head.machine_environment) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                _end(process)


def kill_machine(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to all of a machine's processes, as when its power goes."""
    family = descendants(process.pid) | {process.pid}
    for pid in family:
        os.kill(pid, signal.SIGKILL)
    process.wait(timeout=_DOWN_SECONDS)
    assert wait_until_gone(family, _DOWN_SECONDS) == set(), "a killed machine lives"


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on, all different."""
    probes = [socket.socket() for _ in range(number)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def descendants(pid: int) -> set[int]:
    """Processes that come from `pid`, at this moment, without itself."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(status.rpartition(")")[2].split()[1])
    found, fresh = set(), {pid}
    while fresh := {child for child, parent in parents.items() if parent in fresh} - found:
        found |= fresh
    return found


def named(pid: int, name: str) -> list[int]:
    """Those of the descendants of `pid` whose command line begins so."""
    found = []
    for child in sorted(descendants(pid)):
        with suppress(OSError):
            if Path(f"/proc/{child}/cmdline").read_bytes().startswith(name.encode()):
                found.append(child)
    return found


def cpu_seconds(pid: int) -> float:
    """What a process has used so far of the CPU's time, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pids: set[int], seconds: float) -> set[int]:
    """Those of the processes that still run after at most that time."""
    end = time.monotonic() + seconds
    while (left := {pid for pid in pids if is_running(pid)}) and time.monotonic() < end:
        time.sleep(0.1)
    return left


@contextmanager
def _started(
    command: list[str], log: Path, more: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    environment = driver_environment() | {"RAY_DISABLE_IMPORT_WARNING": "1", **more}
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=output, stderr=output
        ) as process,
    ):
        yield process


def wait_for_answer(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    """Returns when a server that was started answers at `url`; RuntimeError where it does not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise RuntimeError(f"nothing came up at {url}:\n{log.read_text()[-3000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to `ray start --block`, which ends all that it started; checked, one by one."""
    family = descendants(process.pid) | {process.pid}
    process.send_signal(signal.SIGTERM)
    left = wait_until_gone(family, 2 * _DOWN_SECONDS)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    process.wait(timeout=_DOWN_SECONDS)
    assert not left, f"processes outlived their cluster: {sorted(left)}"
