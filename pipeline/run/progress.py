"""What a user sees while a run goes on: live bars on a terminal, plain lines everywhere else."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from pipeline.plain_text import printable

LINE_SECONDS = 10.0
"""Pause between two plain lines that say nothing but how far the run is."""
MAX_SCENE_BARS = 8
_LEAST_GAINED = 0.1
"""Of an asset: before so much of it is measured, nothing is said of the time that is left."""
_PROMPT_LENGTH = 40


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """How far a run is. `total` = `done` + `quarantined` + what is left, of this run's plan.

    `fractions` maps the asset ids of running scenes to the part of their optimisation that is done,
    `prompts` those of the first `MAX_SCENE_BARS` to what is asked for; `gained` is what this
    run has finished in `elapsed` seconds, since anything was first seen to be finished: a first
    step takes as long as many others; `steps_per_second` are steps of scenes, eight for a step of
    a gang of eight.
    """

    total: int
    done: int = 0
    quarantined: int = 0
    num_failures: int = 0
    num_actors: int = 0
    gained: float = 0.0
    elapsed: float = 0.0
    steps_per_second: float = 0.0
    fractions: Mapping[str, float] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)

    @property
    def finished(self) -> float:
        """Assets that are over, with the fractions of those under way."""
        return self.done + self.quarantined + sum(self.fractions.values())

    @property
    def assets_per_hour(self) -> float | None:
        """Mean rate; None before enough has been measured."""
        if self.gained < _LEAST_GAINED or self.elapsed <= 0:
            return None
        return 3600.0 * self.gained / self.elapsed

    @property
    def seconds_left(self) -> float | None:
        """At the mean rate; None before there is one."""
        rate = self.assets_per_hour
        return None if rate is None else 3600.0 * (self.total - self.finished) / rate


class Display(Protocol):
    """Where progress goes."""

    def say(self, text: str) -> None:
        """An event, in one line."""
        ...

    def update(self, snapshot: Snapshot) -> None:
        """The state of the run; may be called as often as one likes."""
        ...

    def close(self) -> None:
        """Leaves the screen in order."""
        ...


def open_display(stream: TextIO) -> Display:
    """Live bars if the stream is a terminal, else lines without any control characters."""
    console = Console(file=stream)
    return BarDisplay(console) if console.is_terminal else LineDisplay(stream)


class LineDisplay:
    """One line an event, and one every `LINE_SECONDS`."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._next_line = clock() + LINE_SECONDS

    def say(self, text: str) -> None:
        print(printable(text), file=self._stream, flush=True)

    def update(self, snapshot: Snapshot) -> None:
        if self._clock() >= self._next_line:
            self._next_line = self._clock() + LINE_SECONDS
            self.say(describe(snapshot))

    def close(self) -> None:
        """Nothing to leave in order."""


class BarDisplay:
    """A bar for the run and one for each of the first few running scenes."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
        )
        self._run = self._progress.add_task("assets", total=None, note="starting")
        self._scenes: dict[str, TaskID] = {}
        self._progress.start()

    def say(self, text: str) -> None:
        self._progress.console.print(printable(text), markup=False, highlight=False)

    def update(self, snapshot: Snapshot) -> None:
        self._progress.update(
            self._run,
            total=snapshot.total,
            completed=snapshot.finished,
            note=describe(snapshot),
        )
        shown = dict(list(snapshot.fractions.items())[:MAX_SCENE_BARS])
        for asset_id in [a for a in self._scenes if a not in shown]:
            self._progress.remove_task(self._scenes.pop(asset_id))
        for asset_id, fraction in shown.items():
            if asset_id not in self._scenes:
                name = "  " + shorten(snapshot.prompts[asset_id])
                self._scenes[asset_id] = self._progress.add_task(name, total=1.0, note="")
            self._progress.update(self._scenes[asset_id], completed=fraction)

    def close(self) -> None:
        for task in self._scenes.values():
            self._progress.remove_task(task)
        self._progress.stop()


def describe(snapshot: Snapshot) -> str:
    """`3/10 assets, 2 running (41 %), 12.0 an hour, 35 min 00 s left, 2 failed attempts`."""
    parts = [f"{snapshot.done}/{snapshot.total} assets"]
    if snapshot.fractions:
        mean = sum(snapshot.fractions.values()) / len(snapshot.fractions)
        parts.append(f"{len(snapshot.fractions)} running ({100 * mean:.0f} %)")
    elif not snapshot.num_actors:
        parts.append("waiting for an actor to be ready")
    if (rate := snapshot.assets_per_hour) is not None:
        parts.append(f"{rate:.1f} an hour")
    if (seconds := snapshot.seconds_left) is not None:
        parts.append(f"{duration(seconds)} left")
    if snapshot.steps_per_second:
        parts.append(f"{snapshot.steps_per_second:.1f} steps/s")
    if snapshot.num_failures:
        parts.append(f"{snapshot.num_failures} failed attempts")
    if snapshot.quarantined:
        parts.append(f"{snapshot.quarantined} quarantined")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """`8 s`, `3 min 20 s`, `5 h 07 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def shorten(prompt: str) -> str:
    """A prompt that fits into a line and does nothing to a terminal."""
    text = printable(" ".join(prompt.split()))
    return text if len(text) <= _PROMPT_LENGTH else text[: _PROMPT_LENGTH - 1] + "…"
