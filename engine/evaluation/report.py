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
    names = [
        name
        for name in next(iter(rows.values()))
        if any(r[name] is not None for r in rows.values())
    ]
    lines = [["", *(HEADS.get(name, name.replace("_", " ")) for name in names)]]
    lines += [[label, *(_said(row[name]) for name in names)] for label, row in rows.items()]
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in lines
    )


def _said(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
