"""The language of the embedded world: kinds of objects, their colours, captions and splits.

A `Spec` names one object: its kind and one colour (the whole object) or two different colours (the
first for the main part, the second for the accent). A caption is a spec in words:

    Spec("mushroom", ("red",))          "a red mushroom"
    Spec("mushroom", ("red", "white"))  "a red mushroom with white stem"

The language is closed: `vocabulary()` holds every word a caption can use, view words included.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from engine.guidance.prompts import VIEWS

Split = Literal["train", "dev", "test"]

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

ACCENTS: Mapping[str, str | None] = {
    "mushroom": "stem",
    "house": "roof",
    "car": "wheels",
    "table": "legs",
    "chair": "legs",
    "lamp": "stand",
    "tree": "trunk",
    "rocket": "fins",
    "snowman": "hat",
    "hammer": "handle",
    "umbrella": "handle",
    "sword": "hilt",
    "cup": "handle",
    "bed": "frame",
    "boat": "sail",
    "robot": "head",
    "cake": "icing",
    "barbell": "bar",
    "airplane": "wings",
    "duck": "beak",
    "teapot": "lid",
    "television": "screen",
    "cube": None,
    "sphere": None,
    "cylinder": None,
    "cone": None,
    "torus": None,
    "arch": None,
}
"""Each kind and the word for its second coloured part; None where the object is of one piece."""

KINDS: tuple[str, ...] = tuple(ACCENTS)

_SPLIT_SALT = "dreambatch primitives 1"
_TEST_SHARE = 0.27
_DEV_SHARE = 0.08


@dataclass(frozen=True, order=True)
class Spec:
    """One object of the world: its kind and its one or two colours."""

    kind: str
    colours: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.kind not in ACCENTS:
            raise ValueError(f"unknown kind {self.kind!r}; expected one of {', '.join(KINDS)}")
        for colour in self.colours:
            if colour not in COLOURS:
                raise ValueError(f"unknown colour {colour!r}; expected one of {', '.join(COLOURS)}")
        limit = 1 if ACCENTS[self.kind] is None else 2
        if not 1 <= len(self.colours) <= limit or len(set(self.colours)) < len(self.colours):
            raise ValueError(
                f"a {self.kind} takes 1 to {limit} different colours, got {self.colours!r}"
            )

    @property
    def accent(self) -> str | None:
        """The word for the second part where it has a colour of its own, else None."""
        return ACCENTS[self.kind] if len(self.colours) == 2 else None

    def swapped(self) -> "Spec":
        """The same object with its two colours exchanged; itself when it has only one."""
        return Spec(self.kind, self.colours[::-1])


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def caption(spec: Spec) -> str:
    """The spec in words: "an orange mushroom with white stem"."""
    main = f"{_article(spec.colours[0])} {spec.colours[0]} {spec.kind}"
    return main if spec.accent is None else f"{main} with {spec.colours[1]} {spec.accent}"


def colourless_caption(spec: Spec) -> str:
    """The kind alone in words: "an umbrella"."""
    return f"{_article(spec.kind)} {spec.kind}"


@cache
def specs() -> tuple[Spec, ...]:
    """Every object of the world, in a fixed order: each kind in one colour, then in two."""
    found: list[Spec] = []
    for kind, accent in ACCENTS.items():
        found += [Spec(kind, (colour,)) for colour in COLOURS]
        if accent is not None:
            found += [Spec(kind, (a, b)) for a in COLOURS for b in COLOURS if a != b]
    return tuple(found)


@cache
def _by_caption() -> Mapping[str, Spec]:
    return {caption(spec): spec for spec in specs()}


def parse(text: str) -> Spec:
    """The spec whose caption this is, view words allowed: the inverse of `caption`.

    Raises ValueError for a sentence outside the grammar.
    """
    words = text
    for view in VIEWS:
        words = words.removesuffix(f", {view}")
    spec = _by_caption().get(words)
    if spec is None:
        raise ValueError(
            f"{text!r} is not a caption of the embedded world; expected a sentence like "
            f"{caption(Spec('mushroom', ('red', 'white')))!r}"
        )
    return spec


def _share(text: str) -> float:
    digest = hashlib.sha256(f"{_SPLIT_SALT}: {text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split(spec: Spec) -> Split:
    """Which split a spec belongs to, fixed for ever by a hash of its caption."""
    share = _share(caption(spec))
    if share < _TEST_SHARE:
        return "test"
    return "dev" if share < _TEST_SHARE + _DEV_SHARE else "train"


@cache
def specs_of(name: Split) -> tuple[Spec, ...]:
    """All specs of one split, in the order of `specs`."""
    return tuple(spec for spec in specs() if split(spec) == name)


@cache
def vocabulary() -> tuple[str, ...]:
    """Every word and mark of every caption, sorted."""
    texts = [caption(spec) for spec in specs()] + [colourless_caption(spec) for spec in specs()]
    words = {word for text in [*texts, *VIEWS] for word in text.split()}
    return tuple(sorted(words | {","}))
