"""What the embedded world holds: kinds, parts, colours, and how objects stand together.

A `Spec` names one scene, a `Geometry` the same without its colours:

    Spec("mushroom", ("red", "white"))                      an object, colours part by part
    Spec("cube", ("red", "blue"), "on", "cylinder")         two solids, one colour each
    Spec("ball", ("green",), count=3)                       solids of one colour in a row

Its words are in `captions`, its split in `splits`. Free of torch.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

COLOURS: Mapping[str, tuple[float, float, float]] = {
    "red": (0.86, 0.08, 0.08),
    "orange": (0.97, 0.50, 0.04),
    "yellow": (0.97, 0.88, 0.12),
    "green": (0.10, 0.60, 0.14),
    "cyan": (0.10, 0.82, 0.86),
    "blue": (0.10, 0.18, 0.85),
    "purple": (0.50, 0.10, 0.68),
    "pink": (0.98, 0.52, 0.74),
    "brown": (0.40, 0.22, 0.08),
    "black": (0.05, 0.05, 0.05),
    "grey": (0.50, 0.50, 0.50),
    "white": (0.96, 0.96, 0.96),
}
"""Albedo of each colour word, RGB in [0, 1]."""


class Part(NamedTuple):
    """A part of an object that can have a colour of its own."""

    word: str
    wears: int = 0
    """Which earlier colour it has while the caption gives it none: 0 the object's, 1 the first
    part's."""


PARTS: Mapping[str, tuple[Part, ...]] = {
    "mushroom": (Part("stem"),),
    "house": (Part("roof"),),
    "car": (Part("wheels"), Part("roof")),
    "table": (Part("legs"),),
    "chair": (Part("legs"),),
    "lamp": (Part("stand"), Part("foot", wears=1)),
    "tree": (Part("trunk"),),
    "rocket": (Part("fins"), Part("nose")),
    "snowman": (Part("hat"), Part("base")),
    "hammer": (Part("handle"),),
    "umbrella": (Part("handle"),),
    "sword": (Part("hilt"),),
    "cup": (Part("handle"),),
    "bed": (Part("frame"), Part("pillow", wears=1)),
    "boat": (Part("sail"),),
    "robot": (Part("head"), Part("legs")),
    "cake": (Part("icing"), Part("top")),
    "barbell": (Part("bar"),),
    "airplane": (Part("wings"), Part("tail", wears=1)),
    "duck": (Part("beak"),),
    "teapot": (Part("lid"),),
    "television": (Part("screen"),),
    "cube": (),
    "ball": (),
    "cylinder": (),
    "cone": (),
    "torus": (),
    "arch": (),
}
"""Each kind and its parts beyond the first; none where the object is of one piece."""

KINDS: tuple[str, ...] = tuple(PARTS)

SOLIDS: tuple[str, ...] = ("cube", "ball", "cylinder", "cone", "torus")
"""Kinds that stand together with others."""

BASES: tuple[str, ...] = ("cube", "cylinder")
"""Solids with a flat top, on which another can stand."""

RELATIONS: tuple[str, ...] = ("on", "next to")
"""The first solid on the second; the first at the +Y side of the second, which is the left of the
scene itself and the right of who sees its front."""

COUNTS: Mapping[int, str] = {2: "two", 3: "three", 4: "four"}
"""How many equal solids stand in a row along Y."""


@dataclass(frozen=True, order=True)
class Geometry:
    """What a scene shows, whatever its colours."""

    kind: str
    relation: str = ""
    """One of `RELATIONS`, or nothing."""
    other: str = ""
    """The second solid of a relation."""
    count: int = 1

    @property
    def slots(self) -> int:
        """How many colours the scene can tell apart."""
        return 2 if self.relation else 1 + (len(PARTS[self.kind]) if self.count == 1 else 0)


@cache
def geometries() -> tuple[Geometry, ...]:
    """Every geometry of the world, in a fixed order: objects, relations, counts.

    "next to" is the same from either side, so each pair of kinds occurs in one order only.
    """
    objects = [Geometry(kind) for kind in KINDS]
    on = [Geometry(kind, "on", base) for base in BASES for kind in SOLIDS]
    beside = [Geometry(a, "next to", b) for a, b in itertools.combinations(SOLIDS, 2)]
    rows = [Geometry(kind, count=count) for count in COUNTS for kind in SOLIDS]
    return (*objects, *on, *beside, *rows)


@dataclass(frozen=True, order=True)
class Spec:
    """One scene of the world: a geometry and its different colours, as many as are named."""

    kind: str
    colours: tuple[str, ...]
    relation: str = ""
    other: str = ""
    count: int = 1

    def __post_init__(self) -> None:
        if self.geometry not in _known_geometries():
            raise ValueError(
                f"unknown {self.geometry!r}; expected one of the kinds "
                f"{', '.join(KINDS)}, or solids ({', '.join(SOLIDS)}) in one of the relations "
                f"{', '.join(RELATIONS)} or 2 to 4 in a row"
            )
        for colour in self.colours:
            if colour not in COLOURS:
                raise ValueError(f"unknown colour {colour!r}; expected one of {', '.join(COLOURS)}")
        most = self.geometry.slots
        least = 2 if self.relation else 1
        if not least <= len(self.colours) <= most or len(set(self.colours)) < len(self.colours):
            raise ValueError(
                f"{self.geometry.kind} takes {least} to {most} different colours, "
                f"got {self.colours!r}"
            )

    @property
    def geometry(self) -> Geometry:
        """The scene without its colours."""
        return Geometry(self.kind, self.relation, self.other, self.count)

    @property
    def parts(self) -> tuple[str, ...]:
        """The words of the parts that have a colour of their own, beyond the first."""
        if self.relation or self.count > 1:
            return ()
        return tuple(part.word for part in PARTS[self.kind][: len(self.colours) - 1])

    @property
    def slot_colours(self) -> tuple[str, ...]:
        """The colour of each slot of the geometry, parts without a colour of their own included."""
        found = list(self.colours)
        if not self.relation and self.count == 1:
            for part in PARTS[self.kind][len(found) - 1 :]:
                found.append(found[part.wears])
        return tuple(found)

    def swapped(self) -> "Spec":
        """The scene with its first two colours exchanged; itself when it has only one."""
        colours = (*self.colours[1::-1], *self.colours[2:])
        return Spec(self.kind, colours, self.relation, self.other, self.count)

    def recoloured(self, slot: int, colour: str) -> "Spec":
        """The scene with another colour in one slot, which must not be in use elsewhere."""
        colours = (*self.colours[:slot], colour, *self.colours[slot + 1 :])
        return Spec(self.kind, colours, self.relation, self.other, self.count)


@cache
def _known_geometries() -> frozenset[Geometry]:
    return frozenset(geometries())


@cache
def specs() -> tuple[Spec, ...]:
    """Every scene of the world, in a fixed order: by geometry, then by number of colours."""
    found: list[Spec] = []
    for geometry in geometries():
        for number in range(2 if geometry.relation else 1, geometry.slots + 1):
            for colours in itertools.permutations(COLOURS, number):
                found.append(
                    Spec(geometry.kind, colours, geometry.relation, geometry.other, geometry.count)
                )
    return tuple(found)
