"""What the host asks of the device in a step: launches, and how often it waits. By the profiler."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch.profiler import ProfilerActivity, profile

_LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel")
"""How the names begin; `ExC` and `Ex` may follow."""
_GRAPHS = ("cudaGraphLaunch",)
_WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
_FETCHES = ("Memcpy DtoH",)
_MOST_KERNELS = 30
_NAME_LENGTH = 120


@dataclass(frozen=True, kw_only=True)
class Activity:
    """Of one step, on average."""

    launches: float
    """Kernels that the host launched one by one."""
    graph_launches: float
    synchronisations: float
    fetches: float
    """Copies from the device to the host."""
    busy_ms: float
    """Sum of the times of all kernels and copies."""
    kernels_ms: Mapping[str, float]
    """Of those that took longest, by name."""


def watched(run: Callable[[], object], *, repeats: int) -> Activity:
    """Runs it so often under the profiler."""
    idle, _ = _profiled(run, 0)
    counts, times = _profiled(run, repeats)
    # The profiler's own, and the one wait behind the last step.
    counts.subtract(idle)
    return summed(counts, times, repeats)


def summed(counts: Mapping[str, int], times: Mapping[str, float], repeats: int) -> Activity:
    """From calls and microseconds on the device, by name, of so many steps."""

    def number(names: tuple[str, ...]) -> float:
        return sum(n for key, n in counts.items() if key.startswith(names)) / repeats

    # Instances of a template may differ behind what is kept of their names.
    kernels: dict[str, float] = {}
    for name, microseconds in times.items():
        short = name[:_NAME_LENGTH]
        kernels[short] = kernels.get(short, 0.0) + microseconds
    longest = sorted(kernels, key=lambda name: -kernels[name])[:_MOST_KERNELS]
    return Activity(
        launches=number(_LAUNCHES),
        graph_launches=number(_GRAPHS),
        synchronisations=number(_WAITS),
        fetches=number(_FETCHES),
        busy_ms=1e-3 * sum(times.values()) / repeats,
        kernels_ms={name: 1e-3 * kernels[name] / repeats for name in longest},
    )


def _profiled(run: Callable[[], object], repeats: int) -> tuple[Counter[str], dict[str, float]]:
    torch.cuda.synchronize()
    both = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    # Without a schedule there is one cycle, whose events are kept anyhow; unasked, torch warns.
    with profile(activities=both, acc_events=True) as found:
        for _ in range(repeats):
            run()
        torch.cuda.synchronize()
    counts, times = Counter[str](), {}
    for event in found.key_averages():
        counts[event.key] += event.count
        if event.device_type.name == "CUDA":
            times[event.key] = times.get(event.key, 0.0) + event.self_device_time_total
    return counts, times
