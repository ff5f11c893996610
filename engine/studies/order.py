"""What a study is asked for on its command line, read and checked before anything is loaded.

A mistake of the user's ends the command with one line and exit code 2.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import get_args

from engine import recipes
from engine.directories import to_write
from engine.evaluation import judge
from engine.evaluation.manner import Manner
from engine.evaluation.variations import Variation
from engine.guidance import files
from engine.primitives.grammar import Spec
from engine.primitives.splits import Split, choose
from engine.recipe import Recipe
from engine.studies.results import Part

SEED = 5
RECIPE = "primitives"

Choose = Callable[[Split, int, int], Sequence[Spec]]
"""So many scenes of a split, by a seed."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """Which variations of which scenes a study of variations is to make."""

    out: Path
    offered: Sequence[Variation]
    wanted: Sequence[Variation]
    """Those of the offered that this process makes."""
    split: Split
    seed: int
    specs: Sequence[Spec]
    """All scenes, whoever makes them."""
    part: Part
    """Of the scenes, what this process makes."""
    model: Path
    judge: str
    manner: Manner
    """How recipes are run, where that is not what is varied."""

    def __post_init__(self) -> None:
        first, end = self.part.span(len(self.specs))
        if first == end:
            share = f"{self.part.number}/{self.part.count}"
            raise ValueError(
                f"--part: expected a share of {len(self.specs)} scenes, {share} is 0; "
                "give fewer parts or more --prompts"
            )


def parser(
    name: str, doc: str | None, *, split: Split, judge: str, prompts: int, slots: str | None = None
) -> argparse.ArgumentParser:
    """The flags that every study has; `doc` is its module's, `slots` the default in words."""
    about = (doc or "").partition("\n")[0]
    found = argparse.ArgumentParser(prog=f"python -m engine.studies.{name}", description=about)
    add = found.add_argument
    add("--out", type=to_write, required=True, help="directory for tables and pictures")
    add("--recipe", default=RECIPE, help="a name, or a file of JSON (default: %(default)s)")
    add("--guidance", help="a model directory (default: the recipe's)")
    judges = "j1, j2 or a directory; j2 only reports (default: %(default)s)"
    add("--judge", default=judge, help=judges)
    parts = "of the embedded world's scenes (default: %(default)s)"
    add("--split", choices=get_args(Split), default=split, help=parts)
    add("--prompts", type=int, default=prompts, help="how many (default: %(default)s)")
    seeds = "of the choice of prompts and, counted up, of scenes (default: %(default)s)"
    add("--seed", type=int, default=SEED, help=seeds)
    usual = slots or "as many as there are prompts"
    add("--slots", type=int, help=f"scenes optimised together (default: {usual})")
    add("--compile", action="store_true", help="compile the U-Net")
    return found


def add_choice(
    parser: argparse.ArgumentParser, names: Sequence[str], usual: Sequence[str] | None = None
) -> None:
    """The flags of studies of variations. `names` are those of the usual recipe, `usual` the
    patterns of what is made where none are given; by default all."""
    told = ", ".join(map(repr, names))
    rest = "all" if usual is None else " and ".join(map(repr, usual))
    parser.add_argument(
        "--only",
        action="append",
        metavar="PATTERN",
        help=f"a variation, or several with * and ?; may be repeated. Of {RECIPE} there are "
        f"{told} (default: {rest})",
    )
    parser.set_defaults(usual=usual)
    shares = "k/n: the kth of n shares of the scenes (default: %(default)s)"
    parser.add_argument("--part", default="1/1", help=shares)
    parser.add_argument("--launched", action="store_true", help="do not record CUDA graphs")


@contextmanager
def mistakes(parser: argparse.ArgumentParser) -> Iterator[None]:
    """Within, what is wrong with the flags ends the command by one line, exit code 2."""
    try:
        yield
    except ValueError as error:
        parser.error(str(error))


def base_of(given: argparse.Namespace) -> Recipe:
    """The recipe that is varied. Raises ValueError for one that is not known."""
    return recipes.find(given.recipe)


def manner_of(given: argparse.Namespace) -> Manner:
    """How recipes are run. Raises ValueError for a manner that is none."""
    return Manner(slots=given.slots, compiled=given.compile, captured=not given.launched)


def model_of(given: argparse.Namespace) -> Path:
    """Directory of the diffusion model. Raises ValueError where it is none of pixels."""
    path = files.resolve(given.guidance or base_of(given).guidance)
    files.check(path, space="pixel")
    return path


def chosen(offered: Sequence[Variation], patterns: Sequence[str] | None) -> list[Variation]:
    """Those whose names fit one of the patterns; all of them where there are none.

    Raises ValueError at a pattern that fits none.
    """
    for pattern in patterns or ():
        if not any(fnmatchcase(variation.name, pattern) for variation in offered):
            names = ", ".join(repr(variation.name) for variation in offered)
            raise ValueError(f"--only: expected one of {names}, or a pattern, got {pattern!r}")
    return [
        variation
        for variation in offered
        if patterns is None or any(fnmatchcase(variation.name, p) for p in patterns)
    ]


def order(
    given: argparse.Namespace, offered: Sequence[Variation], choose: Choose = choose
) -> Order:
    """What flags ask for. Raises ValueError where they ask for what is not there."""
    judge.directory(given.judge)
    return Order(
        out=given.out,
        offered=offered,
        wanted=chosen(offered, given.only or given.usual),
        split=given.split,
        seed=given.seed,
        specs=choose(given.split, given.prompts, given.seed),
        part=Part.read(given.part),
        model=model_of(given),
        judge=given.judge,
        manner=manner_of(given),
    )
