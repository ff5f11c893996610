"""What a judge says of one subject, and the figures of many.

A place is counted from 0, which is a hit (`retrieval`). A subject that is not there is wrong in
everything and last in every pool. Shares lie in [0, 1] and are None where no subject was asked.
Free of torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.primitives.captions import caption, parse
from engine.primitives.grammar import Spec
from engine.primitives.splits import family


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One subject before one judge."""

    spec: Spec
    """What it should be."""
    taken_for: Spec | None
    """What the judge takes it for; None where there was nothing to see."""
    colour_place: int
    """Place of its caption in its pool of 64."""
    geometry_place: int | None = None
    """Place of its colourless caption among all; None where no such pictures were shown."""
    benchmark_place: int | None = None
    """Place of its caption in the benchmark's pool; None outside of a benchmark."""
    colours_right: tuple[bool, ...]
    """For each named colour."""
    beats_swap: bool | None
    """None where there is only one colour."""

    @property
    def is_kind_right(self) -> bool:
        """Kind, relation and count."""
        return self.taken_for is not None and self.taken_for.geometry == self.spec.geometry

    def as_row(self) -> dict[str, object]:
        """Plain data, ready for JSON."""
        return {
            "caption": caption(self.spec),
            "family": family(self.spec),
            "kind": self.spec.kind,
            "taken_for": None if self.taken_for is None else caption(self.taken_for),
            "benchmark_place": self.benchmark_place,
            "colour_place": self.colour_place,
            "geometry_place": self.geometry_place,
            "kind_right": self.is_kind_right,
            "colours_right": list(self.colours_right),
            "beats_swap": self.beats_swap,
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Verdict":
        """The verdict that `as_row` described."""
        seen = row["taken_for"]
        return cls(
            spec=parse(row["caption"]),
            taken_for=None if seen is None else parse(seen),
            colour_place=row["colour_place"],
            geometry_place=row["geometry_place"],
            benchmark_place=row["benchmark_place"],
            colours_right=tuple(row["colours_right"]),
            beats_swap=row["beats_swap"],
        )


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Shares over some subjects."""

    count: int
    benchmark_retrieval: float | None
    colour_retrieval: float | None
    geometry_retrieval: float | None
    kind: float | None
    colour: float | None
    """Of all named colours."""
    first_colour: float | None
    second_colour: float | None
    third_colour: float | None
    all_colours: float | None
    """Of subjects, all of whose colours are right."""
    against_swap: float | None


def share(found: Iterable[bool]) -> float | None:
    """Part of what is true; None of nothing."""
    values = list(found)
    return sum(values) / len(values) if values else None


def _hits(places: Iterable[int | None]) -> float | None:
    return share(place == 0 for place in places if place is not None)


def figures(verdicts: Sequence[Verdict]) -> Figures:
    """The shares of some verdicts."""
    slots = [
        share(v.colours_right[k] for v in verdicts if len(v.colours_right) > k) for k in range(3)
    ]
    return Figures(
        count=len(verdicts),
        benchmark_retrieval=_hits(v.benchmark_place for v in verdicts),
        colour_retrieval=_hits(v.colour_place for v in verdicts),
        geometry_retrieval=_hits(v.geometry_place for v in verdicts),
        kind=share(v.is_kind_right for v in verdicts),
        colour=share(right for v in verdicts for right in v.colours_right),
        first_colour=slots[0],
        second_colour=slots[1],
        third_colour=slots[2],
        all_colours=share(all(v.colours_right) for v in verdicts),
        against_swap=share(v.beats_swap for v in verdicts if v.beats_swap is not None),
    )
