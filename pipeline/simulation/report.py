"""What a simulation found, for people and for programs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.run.progress import duration
from pipeline.simulation.assumptions import Assumptions


@dataclass(frozen=True, kw_only=True)
class Report:
    """Figures of one simulated run. Hours and seconds of GPUs are of the simulated clock; those of
    the driver, of the planner and of the simulation itself are of this machine.

    num_prompts = num_committed + num_quarantined + num_rejected + num_lost, and `num_lost` must
    be 0. gpu_hours_held = useful + wasted + loading + idle + unseen + what checkpoints still keep.
    """

    assumptions: Assumptions
    num_prompts: int
    num_committed: int
    num_quarantined: int
    num_rejected: int
    num_lost: int
    num_commits: int
    """Creations of an asset in the store: as many as there are assets, whoever was told."""
    num_duplicates: int
    num_unacknowledged: int
    num_attempts: int
    quarantined: Mapping[str, int]
    retried: Mapping[str, int]
    makespan_seconds: float
    all_ready_seconds: float | None
    gpu_hours_held: float
    gpu_hours_useful: float
    gpu_hours_wasted: Mapping[str, float]
    gpu_hours_loading: float
    gpu_hours_idle: float
    gpu_hours_unseen: float
    gpu_hours_kept: float
    num_checkpoints: int
    num_resumed: int
    events: Mapping[str, int]
    store_calls: Mapping[str, int]
    driver_cpu_seconds: float
    planning_seconds: float
    simulation_seconds: float
    peak_rss_mib: float
    planned_rss_mib: float

    @property
    def assets_per_hour(self) -> float:
        """Committed assets in an hour of the simulated clock."""
        return 3600.0 * self.num_committed / self.makespan_seconds if self.makespan_seconds else 0.0

    @property
    def driver_share(self) -> float:
        """Of one core, over the makespan."""
        return self.driver_cpu_seconds / self.makespan_seconds if self.makespan_seconds else 0.0

    @property
    def settled_per_cpu_second(self) -> float:
        """Assets that came to an end for each second of the driver's processor time."""
        ended = self.num_committed + self.num_quarantined
        return ended / self.driver_cpu_seconds if self.driver_cpu_seconds else 0.0

    @property
    def wasted_share(self) -> float:
        """Of the device time that was spent on scenes."""
        wasted = sum(self.gpu_hours_wasted.values())
        spent = wasted + self.gpu_hours_useful
        return wasted / spent if spent else 0.0

    @property
    def is_sound(self) -> bool:
        """Whether nothing was lost and no asset came into being twice."""
        return self.num_lost == 0 and self.num_commits == self.num_committed

    def to_dict(self) -> dict[str, Any]:
        """For JSON: all figures, the derived ones too."""
        derived = (
            "assets_per_hour",
            "driver_share",
            "settled_per_cpu_second",
            "wasted_share",
            "is_sound",
        )
        return asdict(self) | {name: getattr(self, name) for name in derived}

    def render(self) -> str:
        """A page to read."""
        return "\n".join([*self._result(), *self._devices(), *self._driver(), *self._assumed()])

    def _result(self) -> list[str]:
        verdict = "nothing lost, nothing twice" if self.is_sound else "NOT SOUND"
        given = self.assumptions
        ready = "never" if self.all_ready_seconds is None else duration(self.all_ready_seconds)
        return [
            f"{self.num_prompts:,} prompts on {given.gpus:,} GPUs of {given.slots} slots",
            "",
            _line("makespan", duration(self.makespan_seconds), f"all GPUs ready after {ready}"),
            _line("assets an hour", f"{self.assets_per_hour:,.0f}"),
            _line("committed", f"{self.num_committed:,}", f"{self.num_commits:,} creations"),
            _line("quarantined", f"{self.num_quarantined:,}", _counts(self.quarantined)),
            _line("rejected", f"{self.num_rejected:,}"),
            _line("lost", f"{self.num_lost:,}", verdict),
            _line("attempts", f"{self.num_attempts:,}", _counts(self.retried)),
            _line("commits unheard of", f"{self.num_unacknowledged:,}"),
            _line("finished twice", f"{self.num_duplicates:,}", "the second changed nothing"),
            _line("resumed", f"{self.num_resumed:,}", f"{self.num_checkpoints:,} checkpoints"),
            _line("events", "", _counts(self.events)),
        ]

    def _devices(self) -> list[str]:
        hours = {
            "useful": self.gpu_hours_useful,
            **{f"wasted: {cause}": spent for cause, spent in _sorted(self.gpu_hours_wasted)},
            "loading": self.gpu_hours_loading,
            "idle": self.gpu_hours_idle,
            "on unseen nodes": self.gpu_hours_unseen,
            "in checkpoints left": self.gpu_hours_kept,
        }
        held = self.gpu_hours_held
        return [
            "",
            _line("GPU-hours", f"{held:,.1f}", f"{self.wasted_share:.2%} of those spent is waste"),
            *(
                _line(f"  {name}", f"{spent:,.1f}", f"{spent / held:.2%}" if held else "")
                for name, spent in hours.items()
            ),
        ]

    def _driver(self) -> list[str]:
        return [
            "",
            _line(
                "driver",
                f"{self.driver_share:.2%}",
                f"of one core: {self.driver_cpu_seconds:.1f} s, "
                f"{self.settled_per_cpu_second:,.0f} assets a second; Ray's part is not in it",
            ),
            _line("planning", f"{self.planning_seconds:.1f} s", "of this machine"),
            _line(
                "memory",
                f"{self.peak_rss_mib:,.0f} MiB",
                f"peak, the simulated world included; {self.planned_rss_mib:,.0f} MiB when planned",
            ),
            _line("store calls", f"{sum(self.store_calls.values()):,}", _counts(self.store_calls)),
            _line("simulated in", f"{self.simulation_seconds:.1f} s", "of this machine"),
        ]

    def _assumed(self) -> list[str]:
        given = asdict(self.assumptions)
        words = [f"--{name.replace('_', '-')} {value}" for name, value in given.items()]
        lines = [" ".join(words[start : start + 4]) for start in range(0, len(words), 4)]
        return [
            "",
            "assumed:",
            *(f"  {line}" for line in lines),
            "not simulated:",
            "  the encode stage: one text actor, whatever the number of GPUs, is taken to keep up",
        ]


def _line(name: str, value: str, remark: str = "") -> str:
    return f"{name:<32} {value:>16}  {remark}".rstrip()


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in _sorted(counts) if count)


def _sorted(counts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(counts.items(), key=lambda item: -item[1])
