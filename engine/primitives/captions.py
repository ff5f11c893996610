"""The words of the embedded world: every way in which a caption may name a scene.

The first form is the caption itself, the others are what people write instead of it:

    "a red mushroom with white stem"   "a red mushroom with a white stem"   "a mushroom in red ..."
    "a red cube on a blue cylinder"    "a blue cylinder under a red cube"   ...
    "three green balls in a row"       "a row of three green balls"         ...

The language is closed: `vocabulary()` holds every word, view words included. Free of torch.
"""

from collections.abc import Mapping
from functools import cache

from engine.guidance.prompts import VIEWS
from engine.primitives.grammar import COUNTS, Geometry, Spec, geometries, specs

_PREFIXES = ("a picture of ", "a 3d model of ")


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _plural(kind: str) -> str:
    return f"{kind}es" if kind == "torus" else f"{kind}s"


def _is_plural(part: str) -> bool:
    return part.endswith("s")


def _and(words: list[str]) -> str:
    return " and ".join(words)


def _object_forms(spec: Spec) -> list[str]:
    main, *others = spec.colours
    head = _article(f"{main} {spec.kind}")
    if not others:
        return [head, f"{_article(spec.kind)} in {main}", f"{main} {spec.kind}"]
    pairs = list(zip(others, spec.parts, strict=True))
    bare = [f"{colour} {part}" for colour, part in pairs]
    full = [
        words if _is_plural(part) else _article(words)
        for words, (_, part) in zip(bare, pairs, strict=True)
    ]
    said = [f"the {part} {'are' if _is_plural(part) else 'is'} {colour}" for colour, part in pairs]
    return [
        f"{head} with {_and(bare)}",
        f"{head} with {_and(full)}",
        f"{_article(spec.kind)} in {main} with {_and(bare)}",
        f"{head}, {_and(said)}",
        f"{_article(spec.kind)} with {_and(bare)}, otherwise {main}",
    ]


def _relation_forms(relation: str, first: str, second: str) -> list[str]:
    if relation == "on":
        return [
            f"{first} on {second}",
            f"{first} on top of {second}",
            f"{second} under {first}",
            f"{second} with {first} on it",
        ]
    return [
        f"{first} next to {second}",
        f"{second} next to {first}",
        f"{first} beside {second}",
        f"{second} beside {first}",
        f"{first} and {second}",
    ]


def _row_forms(number: str, words: str) -> list[str]:
    return [f"{number} {words} in a row", f"{number} {words}", f"a row of {number} {words}"]


def _distinct(found: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*found, *(prefix + found[0] for prefix in _PREFIXES)]))


def forms(spec: Spec) -> tuple[str, ...]:
    """All captions of a scene, the canonical one first."""
    if spec.relation:
        first = _article(f"{spec.colours[0]} {spec.kind}")
        second = _article(f"{spec.colours[1]} {spec.other}")
        found = _relation_forms(spec.relation, first, second)
    elif spec.count > 1:
        found = _row_forms(COUNTS[spec.count], f"{spec.colours[0]} {_plural(spec.kind)}")
    else:
        found = _object_forms(spec)
    return _distinct(found)


def caption(spec: Spec) -> str:
    """The canonical caption: "an orange mushroom with white stem"."""
    return forms(spec)[0]


def colourless_forms(geometry: Geometry) -> tuple[str, ...]:
    """All captions of a geometry that name no colour, the canonical one first."""
    if geometry.relation:
        first, second = _article(geometry.kind), _article(geometry.other)
        found = _relation_forms(geometry.relation, first, second)
    elif geometry.count > 1:
        found = _row_forms(COUNTS[geometry.count], _plural(geometry.kind))
    else:
        found = [_article(geometry.kind)]
    return _distinct(found)


def colourless_caption(geometry: Geometry) -> str:
    """The geometry alone in words: "an umbrella", "a cube on a cylinder"."""
    return colourless_forms(geometry)[0]


@cache
def _by_caption() -> Mapping[str, Spec]:
    return {words: spec for spec in specs() for words in forms(spec)}


def parse(text: str) -> Spec:
    """The scene that a caption names, in any form and with or without a view word.

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


@cache
def vocabulary() -> tuple[str, ...]:
    """Every word and mark of every caption, sorted."""
    texts = [words for spec in specs() for words in forms(spec)]
    texts += [words for geometry in geometries() for words in colourless_forms(geometry)]
    words = {word for text in [*texts, *VIEWS] for word in text.replace(",", " ,").split()}
    return tuple(sorted(words | {","}))
