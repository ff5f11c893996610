"""Figures for people and for files: groups of a benchmark's subjects, and a table of them.

Free of torch.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from engine.primitives.grammar import KINDS, Spec
from engine.primitives.splits import SHARES, family

Item = TypeVar("Item")
Row = Mapping[str, float | int | None]

HEADS = {
    "count": "n",
    "benchmark_retrieval": "R bench",
    "colour_retrieval": "R 64",
    "geometry_retrieval": "R geo",
    "first_colour": "1st",
    "second_colour": "2nd",
    "third_colour": "3rd",
    "all_colours": "all col",
    "against_swap": "> swap",
}
"""Heads of the table's columns where a figure's name is too long."""

MEANINGS = {
    "count": "how many",
    "benchmark_retrieval": "the own caption comes first in the whole pool",
    "colour_retrieval": "the own caption comes first among 64 hard ones",
    "geometry_retrieval": "seen without colours, the own comes first among captions of all shapes",
    "kind": "kind, relation and count are right",
    "colour": "of the named colours of all subjects together those that are right",
    "first_colour": "the first named colour is right",
    "second_colour": "the second is",
    "third_colour": "the third is",
    "all_colours": "all named colours are right",
    "against_swap": "the own caption comes before that with the first two colours exchanged",
}
"""What the figures of `engine.evaluation.verdict` are; but for the first they are shares."""


def grouped(items: Sequence[Item], spec_of: Callable[[Item], Spec]) -> dict[str, list[Item]]:
    """All items; those of each family; the objects of each kind (not relations, not rows)."""
    groups = {"all": list(items)}
    for name in SHARES:
        groups[name] = [item for item in items if family(spec_of(item)) == name]
    for kind in KINDS:
        groups[kind] = [
            item
            for item in items
            if spec_of(item).kind == kind
            and not spec_of(item).relation
            and spec_of(item).count == 1
        ]
    return {name: group for name, group in groups.items() if group}


def table(rows: Mapping[str, Row]) -> str:
    """Rows of figures under their heads; a figure that no row has is left out."""
    names = _shown(rows)
    lines = [["", *map(_head, names)]]
    lines += [[label, *(_said(row[name]) for name in names)] for label, row in rows.items()]
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in lines
    )


def legend(rows: Mapping[str, Row]) -> str:
    """What the heads of the same table mean, a line each."""
    names = _shown(rows)
    width = max(len(_head(name)) for name in names)
    return "\n".join(f"{_head(name):<{width}}  {MEANINGS[name]}" for name in names)


def _shown(rows: Mapping[str, Row]) -> list[str]:
    return [
        name
        for name in next(iter(rows.values()))
        if any(row[name] is not None for row in rows.values())
    ]


def _head(name: str) -> str:
    return HEADS.get(name, name.replace("_", " "))


def _said(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
